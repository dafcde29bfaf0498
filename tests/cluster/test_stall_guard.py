"""When the guard ends a job, when it does not, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mattemill.cluster.stall_guard import Snapshot, StageCounts, StallGuard
from mattemill.pipeline.errors import JobStalledError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stage(name: str, queued: int = 0, running: int = 0, workers: int = 1, done: int = 0) -> StageCounts:
    return StageCounts(name, queued, running, workers, done)


def job(*stages: StageCounts, ended: int = 0, listed: int = 10, listing: bool = False) -> Snapshot:
    return Snapshot(stages, ended, listed, listing, in_flight_bytes=7, in_flight_limit=9)


def watch(snapshot: Snapshot, seconds: float, timeout: float = 60.0) -> None:
    """Look once a second at a job that stays as it is."""
    clock = Clock()
    guard = StallGuard(timeout, clock)
    for _ in range(int(seconds)):
        guard.check(snapshot)
        clock.now += 1.0
    guard.check(snapshot)


HANGING = job(stage("fetch", done=10), stage("detect", queued=3, running=2, done=5), stage("store", done=5), ended=5)


def test_a_job_that_does_not_move_for_the_timeout_ends():
    watch(HANGING, 59)
    with pytest.raises(JobStalledError):
        watch(HANGING, 61)


def test_the_message_names_the_stage_its_queue_its_workers_how_far_it_got_and_a_setting():
    with pytest.raises(JobStalledError) as caught:
        watch(HANGING, 61)
    message = str(caught.value)
    assert "stage detect hangs with 3 queued and 2 running on 1 workers" in message
    assert "5 of 10 images" in message
    assert "call_timeout" in message


@pytest.mark.parametrize(
    ("snapshot", "named", "setting"),
    [
        (job(stage("fetch", queued=4, running=1), stage("detect")), "stage fetch", "endpoint_url"),
        (job(stage("fetch"), stage("detect", queued=4, workers=0)), "stage detect", "cpus"),
        (job(stage("fetch"), stage("detect", queued=4)), "stage detect", "batch_age"),
        (job(stage("fetch"), stage("detect")), "10 listed images have no outcome", "in_flight_bytes: 7 of 9"),
        (job(stage("fetch"), listed=0, listing=True), "the source lists nothing more", "credentials"),
        (job(stage("fetch", queued=9), stage("segment", running=1), stage("store")), "stage segment", "call_timeout"),
    ],
)
def test_each_way_to_hang_has_its_setting(snapshot, named, setting):
    with pytest.raises(JobStalledError) as caught:
        watch(snapshot, 61)
    assert named in str(caught.value)
    assert setting in str(caught.value)


@pytest.mark.parametrize("what", ["ended", "listed", "done", "workers"])
def test_anything_that_grows_is_movement(what):
    clock = Clock()
    guard = StallGuard(60.0, clock)
    snapshot = HANGING
    for count in range(300):
        clock.now += 50.0 if count % 2 else 5.0
        first = snapshot.stages[0]
        if what in ("ended", "listed"):
            snapshot = replace(snapshot, **{what: getattr(snapshot, what) + 1})
        else:
            grown = replace(first, **{what: getattr(first, what) + 1})
            snapshot = replace(snapshot, stages=(grown, *snapshot.stages[1:]))
        guard.check(snapshot)


def test_a_listing_that_finds_nothing_due_is_movement_while_no_stage_holds_work():
    clock = Clock()
    guard = StallGuard(60.0, clock)
    resumed = job(stage("fetch"), stage("cut"), stage("store"), listed=0, listing=True)
    for second in range(3600):
        clock.now += 1.0
        guard.check(replace(resumed, seen=second))

    def look() -> None:
        for _ in range(70):
            clock.now += 1.0
            guard.check(replace(resumed, seen=3599))

    with pytest.raises(JobStalledError, match="the source lists nothing more"):
        look()


def test_a_listing_does_not_excuse_a_stage_that_hangs():
    clock = Clock()
    guard = StallGuard(60.0, clock)

    def look() -> None:
        for second in range(120):
            clock.now += 1.0
            guard.check(replace(HANGING, listing=True, seen=second))

    with pytest.raises(JobStalledError, match="stage detect hangs"):
        look()


def test_a_start_up_in_which_workers_come_up_one_by_one_is_not_a_stall():
    clock = Clock()
    guard = StallGuard(60.0, clock)
    for workers in range(5):
        for _ in range(50):
            clock.now += 1.0
            guard.check(job(stage("fetch", queued=10, workers=workers)))


def test_workers_that_die_and_come_back_for_ever_are_a_stall():
    clock = Clock()
    guard = StallGuard(60.0, clock)

    def look() -> None:
        for second in range(600):
            clock.now += 1.0
            guard.check(job(stage("fetch", queued=10, running=second % 2, workers=second % 2)))

    with pytest.raises(JobStalledError):
        look()


def test_no_worker_at_all_is_a_stall_too():
    with pytest.raises(JobStalledError, match="0 workers"):
        watch(job(stage("fetch", queued=10, workers=0)), 61)


def test_a_process_that_was_stopped_for_an_hour_does_not_blame_its_job():
    clock = Clock()
    guard = StallGuard(60.0, clock)
    guard.check(HANGING)
    clock.now += 3600.0
    guard.check(HANGING)
    moved = replace(HANGING, ended=6)
    clock.now += 1.0
    guard.check(moved)

    def look() -> None:
        for _ in range(61):
            clock.now += 1.0
            guard.check(moved)

    with pytest.raises(JobStalledError):
        look()
