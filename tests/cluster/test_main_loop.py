"""The loop of a job around the real coordinator, feed and committer; only the workers are stand-ins."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from simulated_cell import fused_plan, refs

from mattemill.cluster.actions import Call, Fault, ShardClosed, StartWorker
from mattemill.cluster.cell import Cell
from mattemill.cluster.committer import Committer
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.errors import BrokenStageError
from mattemill.cluster.feed import ShardFeed
from mattemill.cluster.layout import lay_out
from mattemill.cluster.main_loop import MainLoop
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import JobStalledError, LedgerError
from mattemill.pipeline.outcome import Failure, Outcome
from mattemill.pipeline.shard import Shard

CONFIG = JobConfig(device="cpu", stall_timeout=60.0)


class FailingCell:
    """A cell without Ray whose first call raises, image by image. `pump` takes one simulated second."""

    def __init__(self, raises: int) -> None:
        self.coordinator = Coordinator(fused_plan(1, raises=raises), 0.0)
        self.closed: deque[ShardClosed] = deque()
        self.now = 0.0

    def pump(self, timeout: float) -> None:
        self.now += 1.0
        self.coordinator.tick(self.now)
        for action in self.coordinator.actions():
            if isinstance(action, StartWorker):
                self.coordinator.worker_ready(action.worker, action.stage)
            elif isinstance(action, ShardClosed):
                self.closed.append(action)
            elif isinstance(action, Call):
                self.coordinator.call_failed(action.id, Fault.RAISED, "ValueError: bad")


class MemoryLedger:
    """Keeps what is committed; raises for the shards that it is told to."""

    def __init__(self, refuses: Callable[[Shard], Exception | None] = lambda shard: None) -> None:
        self.rows: dict[str, Outcome] = {}
        self.refuses = refuses

    def commit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> bool:
        if (error := self.refuses(shard)) is not None:
            raise error
        self.rows.update(outcomes)
        return True

    def check(self) -> None:
        pass

    def pack_due(self) -> bool:
        return False

    def pack_some(self) -> None:
        raise AssertionError("nothing is due")


def loop_of(cell: FailingCell, feed: ShardFeed, ledger: MemoryLedger, **changes: Any) -> MainLoop:
    return MainLoop(
        cast(Cell, cell),
        feed,
        Committer(ledger, lambda: cell.now),
        CONFIG,
        lay_out(CONFIG, "cpu", 0),
        already_done=lambda: 0,
        on_progress=None,
        started=0.0,
        clock=lambda: cell.now,
        **{"seen": lambda: 0, "stop": threading.Event(), **changes},
    )


def fed(n: int, shard_size: int) -> ShardFeed:
    feed = ShardFeed(lambda: ((ref, 0) for ref in refs(n)), shard_size, None, wake=lambda: None)
    feed.start()
    feed._thread.join(10)
    return feed


@pytest.mark.parametrize("shard_size", [1, 2, 5])
def test_images_that_ended_by_the_event_that_breaks_a_stage_are_committed_too(shard_size: int) -> None:
    ledger = MemoryLedger()
    loop = loop_of(FailingCell(raises=5), fed(20, shard_size), ledger)
    with pytest.raises(BrokenStageError, match="failed on 5 images in a row"):
        loop.run()
    assert len(ledger.rows) == loop._cell.coordinator.ended == 5
    assert all(isinstance(outcome, Failure) for outcome in ledger.rows.values())


def test_a_commit_that_fails_at_the_end_does_not_hide_why_the_job_ended(caplog: pytest.LogCaptureFixture) -> None:
    def refuses(shard: Shard) -> Exception | None:
        return LedgerError("its outcomes differ") if shard.refs[0].key == "k00003" else None

    ledger = MemoryLedger(refuses)
    loop = loop_of(FailingCell(raises=5), fed(20, 1), ledger)
    with caplog.at_level(logging.WARNING), pytest.raises(BrokenStageError, match="failed on 5 images in a row"):
        loop.run()
    assert "its outcomes differ" in caplog.text
    assert set(ledger.rows) == {f"k{i:05d}" for i in (0, 1, 2, 4)}, "the other shards are committed"


def test_a_resume_that_lists_for_an_hour_before_anything_is_due_goes_on() -> None:
    go, stop = threading.Event(), threading.Event()

    def listing() -> Any:
        go.wait(30)
        return iter(())

    feed = ShardFeed(listing, 16, None, wake=lambda: None)
    feed.start()
    cell = FailingCell(raises=5)

    def seen() -> int:
        if cell.now >= 3600:
            stop.set()
        return int(cell.now)

    loop = loop_of(cell, feed, MemoryLedger(), seen=seen, stop=stop)
    loop.run()
    assert loop.drained
    assert cell.now >= 3600
    go.set()


def test_a_listing_that_stands_still_ends_the_job() -> None:
    go = threading.Event()

    def listing() -> Any:
        go.wait(30)
        return iter(())

    feed = ShardFeed(listing, 16, None, wake=lambda: None)
    feed.start()
    with pytest.raises(JobStalledError, match="the source lists nothing more"):
        loop_of(FailingCell(raises=5), feed, MemoryLedger()).run()
    go.set()
