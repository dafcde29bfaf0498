"""What `mattemill status` and `mattemill failures` are told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from ledger_case import (
    FINGERPRINT,
    LAYOUT,
    ROOT,
    Clock,
    a_failure,
    a_matte,
    every_third_fails,
    open_ledger,
    outcomes_of,
    run_job,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.others import fingerprints
from mattemill.pipeline.ledger.queries import failures, failures_at, status, status_at
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import SENTENCES, Reason
from mattemill.pipeline.shard import cut_into_shards, make_shard
from mattemill.pipeline.storage.location import Location
from mattemill.pipeline.storage.store import Store

OTHER = "f" * 16


def test_status_counts_mattes_failures_files_and_what_is_open(store: Store, clock: Clock) -> None:
    refs = some_refs(10)
    with open_ledger(store, clock) as ledger:
        shards = list(cut_into_shards(ledger.due(refs), 4))
        for shard in shards[:2]:
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
    (job,) = status_at(store, LAYOUT, "sink").jobs
    assert (job.fingerprint, job.done, job.mattes, job.open) == (FINGERPRINT, 8, 5, 2)
    assert job.failed == {"no_subject": 2, "truncated": 1}
    assert (job.shard_files, job.packed_files, job.running) == (2, 0, None)
    assert job.first_commit is not None
    assert job.last_commit is not None
    assert timedelta(0) < job.last_commit - job.first_commit < timedelta(seconds=1)
    assert job.bytes == sum(entry.size for entry in store.list(LAYOUT.outcomes(FINGERPRINT)))
    run_job(store, clock, refs, every_third_fails)
    (job,) = status_at(store, LAYOUT, "sink").jobs
    assert (job.done, job.mattes, job.open, job.shard_files, job.packed_files) == (10, 6, 0, 0, 1)


def test_status_names_the_settings_and_the_models_of_each_job_and_the_last_one_first(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(2))
    clock.pass_by(days=1)
    config = JobConfig(output="cutout", format="webp")
    Ledger.at(store, LAYOUT, config, OTHER, ROOT, model_hashes={"segment": "abc"}, now=clock).close()
    found = status_at(store, LAYOUT, "sink")
    assert (found.sink, found.source) == ("sink", ROOT)
    assert [job.fingerprint for job in found.jobs] == [OTHER, FINGERPRINT]
    record = found.jobs[0].record
    assert record is not None
    assert (record.settings["output"], record.settings["format"], record.models) == (
        "cutout",
        "webp",
        {"segment": "abc"},
    )
    assert (found.jobs[0].done, found.jobs[0].open, found.jobs[0].first_commit) == (0, None, None)


def test_status_says_that_a_run_works_or_was_killed(clock: Clock) -> None:
    store = MemoryStore()
    with open_ledger(store, clock):
        for alive in (True, False, None):
            (job,) = status_at(store, LAYOUT, "sink", lives=lambda holder, alive=alive: alive).jobs
            assert job.running is not None
            assert (job.running.alive, job.running.holder.pid) == (alive, 7)
    assert status_at(store, LAYOUT, "sink").jobs[0].running is None


def test_status_says_which_of_the_jobs_of_a_sink_works(store: Store, clock: Clock) -> None:
    run_job(store, clock, some_refs(2))
    with open_ledger(store, clock, fingerprint=OTHER):
        jobs = {job.fingerprint: job.running for job in status_at(store, LAYOUT, "sink").jobs}
    assert jobs.keys() == {FINGERPRINT, OTHER}
    assert jobs[FINGERPRINT] is None
    assert jobs[OTHER] is not None


def test_status_of_a_sink_without_a_ledger_is_empty(tmp_path: Path) -> None:
    found = status(str(tmp_path), JobConfig())
    assert (found.source, found.jobs) == (None, ())
    report = failures(str(tmp_path), JobConfig())
    assert (report.fingerprint, report.groups, report.failed) == (None, (), 0)
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_are_found_without_listing_all_of_their_files(clock: Clock) -> None:
    store = MemoryStore()
    for fingerprint in (FINGERPRINT, OTHER):
        run_job(store, clock, some_refs(9), fingerprint=fingerprint, finish=False)
    store.delete(LAYOUT.job(OTHER))

    listed = 0

    class Counts(MemoryStore):
        def list(self, prefix: str, *, start_after: str | None = None):  # type: ignore[no-untyped-def]
            nonlocal listed
            for entry in super().list(prefix, start_after=start_after):
                listed += 1
                yield entry

    counting = Counts()
    counting.objects = store.objects
    assert fingerprints(counting, LAYOUT) == [FINGERPRINT, OTHER]
    assert listed == 3


@pytest.mark.parametrize("finish", [False, True])
def test_failures_are_grouped_by_reason_with_examples(store: Store, clock: Clock, finish: bool) -> None:
    run_job(store, clock, some_refs(15), every_third_fails, finish=finish)
    report = failures_at(store, LAYOUT, "sink", "s3://catalog/mattes/", limit=2)
    assert (report.fingerprint, report.done, report.failed) == (FINGERPRINT, 15, 5)
    assert report.log == "s3://catalog/mattes/_mattemill/failures/"
    assert [(group.reason, group.count) for group in report.groups] == [("no_subject", 3), ("truncated", 2)]
    assert report.groups[0].sentence == SENTENCES[Reason.NO_SUBJECT]
    assert [[example.key for example in group.examples] for group in report.groups] == [
        ["shoes/0000.jpg", "shoes/0006.jpg"],
        ["shoes/0003.jpg", "shoes/0009.jpg"],
    ]
    example = report.groups[0].examples[0]
    assert (example.stage, example.message, example.width) == ("detect", "Nothing stands out in it.", 640)
    assert (example.attempts, example.scores["quality"]) == ({"fetch": 1, "segment": 2}, 0.5)


def test_failures_of_one_reason(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(15), every_third_fails)
    (group,) = failures_at(store, LAYOUT, "sink", "sink/", Reason.TRUNCATED).groups
    assert (group.reason, group.count) == ("truncated", 2)
    assert failures_at(store, LAYOUT, "sink", "sink/", Reason.TIMED_OUT).groups == ()


def test_a_failure_that_was_put_right_is_no_longer_reported_and_one_that_failed_anew_has_its_new_reason(
    clock: Clock,
) -> None:
    store = MemoryStore()
    refs = some_refs(3)

    def end(ref: ImageRef, generation: int) -> Outcome:
        if generation and ref == refs[0]:
            return a_matte(ref)
        return a_failure(Reason.TIMED_OUT if generation else Reason.NO_SUBJECT)

    run_job(store, clock, refs, end, finish=False)
    run_job(store, clock, refs, end, retry=RetrySelection(), finish=False)
    (group,) = failures_at(store, LAYOUT, "sink", "sink/").groups
    assert (group.reason, group.count) == ("timed_out", 2)
    assert [(example.key, example.generation) for example in group.examples] == [(ref.key, 1) for ref in refs[1:]]


def test_failures_are_those_of_the_job_that_ran_last_unless_another_is_named(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(4), every_third_fails)
    clock.pass_by(days=1)
    run_job(store, clock, some_refs(4), fingerprint=OTHER)
    assert failures_at(store, LAYOUT, "sink", "sink/").groups == ()
    assert failures_at(store, LAYOUT, "sink", "sink/", fingerprint=FINGERPRINT).failed == 2


def test_a_reason_of_another_version_is_shown_with_its_name(clock: Clock) -> None:
    store = MemoryStore()

    class Later(str):
        value = "too_beautiful"

    shard = make_shard(some_refs(1))
    with open_ledger(store, clock) as ledger:
        ledger.commit(shard, {shard.refs[0].key: a_failure(Later())})  # type: ignore[arg-type]
    (group,) = failures_at(store, LAYOUT, "sink", "sink/").groups
    assert (group.reason, group.sentence) == ("too_beautiful", "A reason of another version of mattemill.")


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_sink_is_opened_by_its_name(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    sink = str(tmp_path / "out") if kind == "folder" else f"s3://{request.getfixturevalue('bucket')}/out/mattes"
    config = JobConfig()
    with Ledger.open(sink, config, FINGERPRINT, ROOT, model_hashes={"segment": "abc"}) as ledger:
        for shard in cut_into_shards(ledger.due(some_refs(7)), 3):
            assert ledger.commit(shard, outcomes_of(shard, every_third_fails))
        ledger.finish_job()
    with Ledger.open(sink, config, FINGERPRINT, ROOT, read_only=True) as ledger:
        assert list(ledger.due(some_refs(8))) == [(some_refs(8)[7], 0)]
        assert ledger.counts.already_done == 7
    found = status(sink, config)
    assert (found.source, found.jobs[0].done, found.jobs[0].open) == (ROOT, 7, 0)
    report = failures(sink, config)
    assert report.failed == 3
    assert report.log == Location.parse(sink).root + "_mattemill/failures/"
