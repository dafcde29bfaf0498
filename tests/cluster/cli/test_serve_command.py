"""`mattemill serve` before it receives anything: what it says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from event_server import EventServer

from mattemill.cluster.cli.main import main
from mattemill.cluster.cli.serve import summary_text
from mattemill.cluster.progress import JobSummary, Progress, StageState
from mattemill.cluster.progress_view import queue_line
from mattemill.cluster.serve import ServeSummary
from mattemill.pipeline.events.stats import EventStats

pytestmark = pytest.mark.usefixtures("default_model")


@pytest.fixture(scope="module")
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _environment(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def queue(server: EventServer) -> str:
    url = server.queue("uploads", visibility=60)
    server.bucket("shop", url, prefix="photos/")
    server.bucket("mattes")
    server.s3.put_object(Bucket="shop", Key="photos/a.jpg", Body=b"x")
    return url


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["serve", *arguments, "--dry-run"])
    return code, capsys.readouterr().err


def test_a_dry_run_tells_and_receives_nothing(
    server: EventServer, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = server.messages(queue)
    arguments = ["--queue", queue, "s3://mattes/out", "--source", "s3://shop/photos", "--dry-run"]
    assert main(["serve", *arguments, "--json", "--once"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["source"] == "s3://shop/photos/"
    assert plan["queue_is"]["visibility_seconds"] == 60
    assert plan["queue_is"]["messages_waiting"] == before[0] > 0
    assert (plan["idle_exit"], plan["warnings"]) == (0.0, [])
    assert len(plan["fingerprint"]) == 16
    assert main(["serve", *arguments]) == 0
    text = capsys.readouterr().out
    assert "after 10 receives" in text
    assert "closed after 5 s" in text
    assert server.messages(queue) == before
    assert server.s3.list_objects_v2(Bucket="mattes")["KeyCount"] == 0


def test_a_queue_without_dead_letters_is_warned_of(server: EventServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = server.queue("bare", visibility=60, dead_letters=False)
    assert main(["serve", "--queue", url, "s3://mattes/out", "--dry-run"]) == 0
    assert "warning: queue bare has no dead-letter queue" in capsys.readouterr().out


def test_what_cannot_work_is_said_in_one_line(
    server: EventServer, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    short = server.queue("short", visibility=5)
    for arguments, code, text in (
        (["--queue", queue + "-not", "s3://mattes/out"], 1, "there is no such queue"),
        (["--queue", short, "s3://mattes/out"], 1, "its visibility timeout of 5 s is too short"),
        (["--queue", queue, "s3://shop/photos/out", "--source", "s3://shop/photos"], 2, "lie in each other"),
        (["--queue", queue, "s3://shop/photos/out"], 2, "to this very queue"),
        (["--queue", queue, "s3://mattes/out", "--source", "/photos"], 2, "events are of objects on S3"),
        (["--queue", queue, "s3://mattes/out", "--max-age", "-1"], 2, "max-age = -1.0: must lie in"),
        (["--queue", queue, "s3://mattes/out", "--once", "--idle-exit", "3"], 2, "give one of them"),
        (["--queue", "uploads", "s3://mattes/out"], 2, "write the URL of the queue"),
    ):
        found, said = refused(capsys, *arguments)
        assert (found, text in said, said.count("\n")) == (code, True, 1), said


def test_an_empty_queue_ends_a_run_of_once_without_ray(
    server: EventServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattemill.cluster import serve

    monkeypatch.setattr(serve, "run_where", lambda *_, **__: pytest.fail("Ray was started"))
    url = server.queue("empty", visibility=60)
    assert main(["serve", "--queue", url, "s3://mattes/empty", "--once", "--json", "--quiet"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["events"]["received"], summary["drained"]) == (0, 0, False)


def test_the_end_of_a_service_is_told_to_a_person() -> None:
    job = JobSummary("s3://", "s3://mattes/out/", "f" * 16, 9, 8, {"no_subject": 1}, {".txt file": 2}, seconds=10.0)
    events = EventStats(
        received=13, deleted=12, released=1, given_up=1, outdated=2, latency_p50=1.5, latency_p95=4.0, latency_max=5.0
    )
    text = summary_text(ServeSummary(job, events))
    assert "9 images in 10 s: 8 cut, 1 failed" in text
    assert "13 messages received, 12 deleted, 1 given back, 1 given up" in text
    assert "2 of content that was replaced, 2 .txt file" in text
    assert "1.5 s in the middle, 4.0 s for 95 %" in text


def test_progress_tells_of_the_queue() -> None:
    events = EventStats(held=12, backlog_age=4.2, latency_p50=3.1, latency_p95=5.0)
    assert queue_line(events).plain == (
        "queue: 12 messages in hand, oldest 4.2 s; event to matte 3.1 s (95 % within 5.0 s)"
    )
    progress = Progress(1, 0, None, 0.1, 2.0, None, (StageState("fetch", 0, 0, 1, 1),), events=events)
    assert progress.to_json()["events"]["held"] == 12
    assert "events" not in Progress(1, 0, None, 0.1, 2.0, None).to_json()
