"""The loop of a running job: shards in, events pumped, closed shards committed, progress told, deadlines kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mattemill.cluster.cell import Cell
from mattemill.cluster.committer import Commits
from mattemill.cluster.feed import Feed
from mattemill.cluster.layout import Layout, resized
from mattemill.cluster.meter import Meter, snapshot
from mattemill.cluster.progress import Progress
from mattemill.cluster.stall_guard import StallGuard
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import JobRunningError
from mattemill.pipeline.shard import make_shard

_log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.5
_GUARD_SECONDS = 1.0
_RESIZE_SECONDS = 15.0  # between looks at the number of workers: starting one costs about a second of a core
MOST_PENDING = 8
"""Shards that wait for their commit before no new one is taken."""


class MainLoop:
    """Runs a cell until everything is committed, or drained. `drained` tells which.

    already_done: references that need not be done, so far. seen: references that the listing went through so far, those
    included: a job that resumes may list for an hour before the first that is due.
    """

    def __init__(
        self,
        cell: Cell,
        feed: Feed,
        committer: Commits,
        config: JobConfig,
        layout: Layout,
        *,
        already_done: Callable[[], int],
        seen: Callable[[], int],
        on_progress: Callable[[Progress], None] | None,
        stop: threading.Event,
        started: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cell = cell
        self._feed = feed
        self._committer = committer
        self._config = config
        self._layout = layout
        self._already_done = already_done
        self._seen = seen
        self._on_progress = on_progress
        self._stop = stop
        self._clock = clock
        self._meter = Meter(started)
        self._guard = StallGuard(config.stall_timeout, clock)
        self._due = {"progress": 0.0, "guard": 0.0, "resize": 0.0}
        self.drained = False

    def run(self) -> None:
        """Raises MattemillErrors; before it does, what has ended is committed (unless another run took over)."""
        try:
            self._work()
            self._commit_closed()
            self._committer.drain()
        except JobRunningError:
            raise  # the other run does the rest: this one commits nothing more
        except BaseException:
            self._keep_what_ended()
            raise
        self._tell(self._clock())

    def _work(self) -> None:
        cell, coordinator = self._cell, self._cell.coordinator
        deadline: float | None = None
        while True:
            if deadline is None and self._stop.is_set():
                deadline = self._clock() + self._config.drain_timeout
                _log.info("draining in_flight=%d seconds=%.0f", coordinator.in_flight, self._config.drain_timeout)
                self.drained = True
                coordinator.drain()
            if deadline is None:
                self._offer()
            cell.pump(0.25)
            self._commit_closed()
            self._committer.check()
            now = self._clock()
            if deadline is not None:
                if coordinator.in_flight == 0 or now >= deadline:
                    self._submit_finished_parts()
                    return
            elif self._feed.exhausted and coordinator.open_shards == 0:
                return
            self._look(now)

    def _offer(self) -> None:
        coordinator = self._cell.coordinator
        while coordinator.wants_shards and self._committer.pending < MOST_PENDING:
            shard = self._feed.take()
            if shard is None:
                if self._feed.exhausted:
                    coordinator.source_done()
                return
            coordinator.offer(shard)

    def _commit_closed(self) -> None:
        closed = self._cell.closed
        while closed:
            shard = closed.popleft()
            self._committer.submit(shard.shard, shard.outcomes)

    def _submit_finished_parts(self) -> None:
        """What has ended of open shards is committed as smaller shards; the rest is due in the next run."""
        for shard, outcomes in self._cell.coordinator.finished_parts():
            part = make_shard((ref for ref in shard.refs if ref.key in outcomes), shard.generation)
            self._committer.submit(part, {ref.key: outcomes[ref.key] for ref in part.refs})

    def _keep_what_ended(self) -> None:
        """Raises nothing: the error that got us here is the one to report. What is not committed is due again."""
        try:
            self._cell.closed.extend(self._cell.coordinator.take_closed())  # closed by the event that raised
            self._commit_closed()
            self._submit_finished_parts()
        except Exception as error:
            _log.warning("not committed error=%r", error)
        while self._committer.pending:
            try:
                self._committer.drain()
            except JobRunningError as error:
                _log.warning("not committed error=%s", error)
                return  # the other run does the rest
            except Exception as error:  # of one shard; the others may be committed still
                _log.warning("not committed error=%r", error)

    def _look(self, now: float) -> None:
        if now >= self._due["progress"]:
            self._due["progress"] = now + _PROGRESS_SECONDS
            self._tell(now)
        if now >= self._due["guard"]:
            self._due["guard"] = now + _GUARD_SECONDS
            listing = not self._feed.exhausted
            self._guard.check(snapshot(self._cell.coordinator, listing=listing, seen=self._seen()))
        if now >= self._due["resize"]:
            self._due["resize"] = now + 1.0
            wanted = resized(self._config, self._layout, self._cell.coordinator.calibration)
            if wanted is not None:
                self._due["resize"] = now + _RESIZE_SECONDS
                self._resize(wanted)

    def _resize(self, wanted: dict[str, int]) -> None:
        coordinator = self._cell.coordinator
        targets = {name: pool.target for name, pool in coordinator.pools.items()}
        # One worker more than needed costs memory only; shrinking by one and growing again costs starts.
        changed = {
            name: workers for name, workers in wanted.items() if workers > targets[name] or workers < targets[name] - 1
        }
        if changed:
            _log.info("workers change from=%s to=%s", targets, {**targets, **changed})
            coordinator.resize(changed)

    def _tell(self, now: float) -> None:
        if self._on_progress is None:
            return
        coordinator = self._cell.coordinator
        total = self._feed.found if self._feed.ended else None
        note = "" if coordinator.ended else "starting workers"
        if all(pool.up for pool in coordinator.pools.values()) and not coordinator.ended:
            note = "calibrating"
        self._on_progress(
            self._meter.progress(coordinator, now, total=total, already_done=self._already_done(), note=note)
        )
