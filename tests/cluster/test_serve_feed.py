"""The thread between a queue and a cell: when it receives, how it waits for a queue that is away, how it ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from simulated_cell import fused_plan

from mattemill.cluster import serve_feed
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.main_loop import MOST_PENDING
from mattemill.cluster.serve import wants
from mattemill.cluster.serve_feed import Backoff, EventFeed
from mattemill.pipeline.events.errors import QueueAwayError
from mattemill.pipeline.events.intake import Intake
from mattemill.pipeline.events.stats import EventStats


class AwayIntake:
    """An intake whose queue never answers. tries: how often it was asked to do something."""

    visibility = 1000.0
    polls = in_vain = offered = 0
    idle = False
    stats = EventStats()

    def __init__(self) -> None:
        self.ready: deque[Any] = deque()
        self.tries = 0
        self.closed = False

    def step(self, wants: bool) -> None:
        self.tries += 1
        raise QueueAwayError("503")

    def renew(self) -> None:
        self.tries += 1
        raise QueueAwayError("503")

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def feed_of(intake: AwayIntake) -> tuple[EventFeed, threading.Event]:
    stop = threading.Event()
    return EventFeed(cast(Intake, intake), lambda: True, lambda: None, stop), stop


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in 30 s"
        time.sleep(0.005)


def close_within_30_seconds(feed: EventFeed) -> None:
    closing = threading.Thread(target=feed.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive(), "it waits for the pause to end"


def test_a_queue_that_is_away_is_asked_less_and_less_often() -> None:
    backoff = Backoff(visibility=120.0)
    assert [backoff.pause() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.pause() == 1


def test_and_still_often_enough_for_the_renewals_of_short_holds() -> None:
    backoff = Backoff(visibility=12.0)
    assert [backoff.pause() for _ in range(4)] == [1, 2, 3, 3]


@pytest.mark.parametrize("stopped", [False, True])
def test_the_feed_ends_though_it_waits_for_a_queue_that_is_away(stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_feed, "_AWAY", (200.0, 200.0))
    intake = AwayIntake()
    feed, stop = feed_of(intake)
    if stopped:
        stop.set()
    feed.start()
    wait_for(lambda: intake.tries == 1)
    time.sleep(0.5)  # several of the pauses that it makes while nothing is wrong
    assert intake.tries == 1, "it does not leave the queue in peace"
    close_within_30_seconds(feed)
    assert intake.closed


def test_a_queue_that_is_away_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_feed, "_AWAY", (0.001, 0.001))
    feed, _ = feed_of(AwayIntake())
    feed.start()
    wait_for(lambda: feed.asked >= 3)
    assert feed.polls == 0
    feed.close()


def cell_and_committer() -> tuple[Any, Any]:
    cell = SimpleNamespace(coordinator=Coordinator(fused_plan(workers=2), 0.0))
    return cell, SimpleNamespace(pending=0)


def test_a_service_receives_nothing_before_a_worker_of_each_stage_is_up() -> None:
    cell, committer = cell_and_committer()
    assert not wants([], [], committer, service=True)
    seen = []
    for stage, pool in cell.coordinator.pools.items():
        seen.append(wants([cell], [], committer, service=True))
        cell.coordinator.worker_ready(next(iter(pool.workers)), stage)
    assert seen == [False] * len(cell.coordinator.pools)
    assert wants([cell], [], committer, service=True)


def test_a_run_that_ends_with_the_queue_takes_its_first_shard_before_it_starts_workers() -> None:
    assert wants([], [], cell_and_committer()[1], service=False)


def test_nothing_is_received_while_too_many_commits_wait() -> None:
    cell, committer = cell_and_committer()
    for stage, pool in cell.coordinator.pools.items():
        cell.coordinator.worker_ready(next(iter(pool.workers)), stage)
    committer.pending = MOST_PENDING
    assert not wants([cell], [], committer, service=True)
