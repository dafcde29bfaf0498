"""What a run says at its end and before its start."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mattemill.cluster.cli import say
from mattemill.cluster.cli.run import plan_text, summary_text, with_explicit_retry
from mattemill.cluster.progress import JobPlan, JobSummary, ModelNeed
from mattemill.pipeline.reasons import SENTENCES, Reason

SUMMARY = JobSummary(
    source="s3://catalog/photos/",
    sink="s3://catalog/mattes/",
    fingerprint="0123456789abcdef",
    images=1_000,
    cut=990,
    failed={"truncated": 3, "no_subject": 7},
    skipped={"folder": 2},
    seconds=520.0,
    images_per_second=1.92,
    first_matte_seconds=6.2,
    devices={"detect": "cpu"},
    workers={"detect": 2},
)

PLAN = JobPlan(
    source="s3://catalog/photos/",
    sink="s3://catalog/mattes/",
    fingerprint="0123456789abcdef",
    listed=1_000,
    listed_bytes=300_000_000,
    due=400,
    due_bytes=120_000_000,
    changed=5,
    already_done=600,
    failed_before=9,
    shards=2,
    shard_size=256,
    examples=(("a.jpg", "a.jpg.png"),),
    models=(ModelNeed("segment", "u2netp", True),),
)


def test_a_summary_says_what_was_cut_what_failed_and_why_and_how_fast() -> None:
    text = summary_text(SUMMARY)
    assert "1,000 images in 8 min 40 s: 990 cut, 10 failed" in text
    assert "first matte after 6.2 s" in text
    assert SENTENCES[Reason.NO_SUBJECT] in text
    assert text.index("no_subject") < text.index("truncated"), "the most frequent reason comes first"
    assert "2 folder" in text
    assert "detect 2x cpu" in text


def test_a_run_with_nothing_to_do_says_so() -> None:
    text = summary_text(replace(SUMMARY, images=0, cut=0, failed={}, already_done=1_000))
    assert text.startswith("nothing to do: 1,000 images done before")


def test_a_run_that_was_stopped_says_what_is_left() -> None:
    text = summary_text(replace(SUMMARY, drained=True, remaining=7_000))
    assert "stopped before the end: 7,000 images still due" in text


def test_what_went_wrong_on_the_way_is_said() -> None:
    text = summary_text(replace(SUMMARY, retries=3, worker_deaths=1, spilled_bytes=5_000_000))
    assert "3 calls made again" in text
    assert "1 worker died and got a successor" in text
    assert "5 MB spilled to disk" in text


@pytest.mark.parametrize("spilled", [0, -1])
def test_what_did_not_spill_or_could_not_be_told_is_not_said(spilled: int) -> None:
    text = summary_text(replace(SUMMARY, spilled_bytes=spilled))
    assert "spilled" not in text
    assert "unknown" not in text


def test_a_summary_as_json_holds_every_figure() -> None:
    line = json.loads(json.dumps(SUMMARY.to_json()))
    assert line["failed"] == {"truncated": 3, "no_subject": 7}
    assert line["finished"] is True
    assert json.loads(json.dumps(replace(SUMMARY, drained=True).to_json()))["finished"] is False


def test_a_plan_says_what_would_be_done() -> None:
    text = plan_text(PLAN)
    for part in (
        "dry run",
        "1,000 images, 300 MB",
        "400 images, 120 MB, 5 of them changed",
        "600 images, 9 of them failed (--retry-failed does these)",
        "2 of up to 256 images",
        "segment: u2netp",
        "0123456789abcdef",
        "a.jpg  ->  a.jpg.png",
    ):
        assert part in text


def test_a_plan_says_what_a_job_of_other_settings_has_written_over() -> None:
    assert "written over" not in plan_text(PLAN)
    assert "3 written over by a job of other settings" in plan_text(replace(PLAN, overwritten=3))


def test_a_plan_and_a_summary_escape_what_a_strict_terminal_cannot_show() -> None:
    broken = "caf\udce9\x1b[31m\n.jpg"  # a name in Latin-1, as Python reads it; then colours and a new line
    plan = plan_text(replace(PLAN, source=f"/in/{broken}/", sink=f"/out/{broken}/", examples=((broken, "out.png"),)))
    summary = summary_text(replace(SUMMARY, sink=f"/out/{broken}/"))
    for text, times in ((plan, 3), (summary, 2)):
        assert text.encode("utf-8", "strict")
        assert text.count(r"caf\udce9\x1b[31m\n.jpg") == times


def test_a_plan_with_a_network_that_is_not_fetched_says_so() -> None:
    text = plan_text(replace(PLAN, fingerprint=None, models=(ModelNeed("segment", "isnet", False),)))
    assert "segment: isnet (not fetched)" in text
    assert "unknown until the networks are fetched" in text


def test_a_plan_as_json_names_keys_and_outputs() -> None:
    assert json.loads(json.dumps(PLAN.to_json()))["examples"] == [{"key": "a.jpg", "output": "a.jpg.png"}]


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["--retry-failed", "s3://a/b", "s3://a/c"], ["--retry-failed=all", "s3://a/b", "s3://a/c"]),
        (["s3://a/b", "s3://a/c", "--retry-failed"], ["s3://a/b", "s3://a/c", "--retry-failed"]),
        (["--retry-failed", "truncated", "a/", "b/"], ["--retry-failed", "truncated", "a/", "b/"]),
        (["--retry-failed", "./truncated", "b/"], ["--retry-failed=all", "./truncated", "b/"]),
    ],
)
def test_a_bare_retry_failed_does_not_swallow_the_source(given: list[str], understood: list[str]) -> None:
    assert with_explicit_retry(given) == understood


def test_the_rate_is_told_from_the_start_and_after_the_first_matte() -> None:
    text = summary_text(replace(SUMMARY, cut=101, seconds=106.2, first_matte_seconds=6.2))
    assert "1.9 images/s in all, first matte after 6.2 s, then 1.0 mattes/s" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00 images/s"), (0.417, "0.42 images/s"), (0.999, "1.0 images/s"), (1540.4, "1,540 images/s")],
)
def test_rates_keep_two_digits_that_mean_something(value: float, text: str) -> None:
    assert say.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (3_661.0, "1 h 01 min"), (90_000.0, "1 d 01 h")],
)
def test_times_are_told_in_the_unit_that_fits(value: float, text: str) -> None:
    assert say.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (999, "999 B"), (4_574_861, "4.57 MB"), (3e15, "3e+03 TB")])
def test_sizes_are_told_in_the_unit_that_fits(value: float, text: str) -> None:
    assert say.size(value) == text
