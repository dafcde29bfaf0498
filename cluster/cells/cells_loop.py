"""The driver's loop over many cells: nodes watched, orders out, reports in, shards committed, progress told."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from mattemill.cluster.cells.crew import CellFault, Crew, Heard, Node, draining_nodes, nodes_for_cells
from mattemill.cluster.cells.driver_desk import DriverDesk
from mattemill.cluster.cells.messages import CellState
from mattemill.cluster.committer import Committer
from mattemill.cluster.errors import BrokenStageError
from mattemill.cluster.feed import Feed
from mattemill.cluster.main_loop import MOST_PENDING
from mattemill.cluster.metrics.cell_figures import CellFigures, CrewFigures, joined
from mattemill.cluster.progress import Progress, StageState
from mattemill.cluster.stall_guard import Snapshot, StageCounts, StallGuard
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import JobRunningError, JobStalledError
from mattemill.pipeline.shard import Shard

_log = logging.getLogger(__name__)

_NODES_SECONDS = 2.0
_PROGRESS_SECONDS = 0.5
_GUARD_SECONDS = 1.0
_SILENT_SECONDS = 1.0  # before a cell that could not be reached is called again
MOST_DEATHS = 3
"""Cells of one node that die in a row, without a committed shard between them, before the node gets none any more."""


class CellsLoop:
    """Runs cells until everything is committed, or drained. `drained` tells which. seen: as `MainLoop` has it.

    ready_first: as `CellPlace` has it; a cell then gets shards only once its workers are up: another may have some.
    used: ids of all nodes that were given a cell, those that are gone included.
    """

    def __init__(
        self,
        crew: Crew,
        feed: Feed,
        committer: Committer,
        config: JobConfig,
        *,
        on_gpu: bool,
        already_done: Callable[[], int],
        seen: Callable[[], int],
        on_progress: Callable[[Progress], None] | None,
        stop: threading.Event,
        started: float,
        ready_first: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ready_first = ready_first
        self._over = False
        self.desk = DriverDesk(config.lease_seconds)
        self.drained = False
        self.first_matte_at: float | None = None
        self.ended_states: list[CellState] = []
        self.cells_started = 0
        self.used: set[str] = set()
        self.cells_lost = 0
        self._crew = crew
        self._feed = feed
        self._committer = committer
        self._config = config
        self._on_gpu = on_gpu
        self._already_done = already_done
        self._seen = seen
        self._on_progress = on_progress
        self._stop = stop
        self._started = started
        self._clock = clock
        self._guard = StallGuard(config.stall_timeout, clock)
        self._due = {"nodes": 0.0, "progress": 0.0, "guard": 0.0}
        self._again: dict[str, float] = {}
        self._starting: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._retired: dict[str, str] = {}
        self._taken = 0
        self._ended = 0
        self._nodeless_since: float | None = None

    def run(self) -> None:
        """Raises MattemillErrors; before it does, what came back is committed (unless another run took over)."""
        try:
            self._work()
            self._committer.drain()
        except JobRunningError:
            raise
        except BaseException:
            try:
                self._committer.drain()
            except Exception as error:  # the error that got us here is the one to report
                _log.warning("not committed error=%r", error)
            raise
        finally:
            self._over = True
        self._tell()

    def _work(self) -> None:
        deadline: float | None = None
        while True:
            now = self._clock()
            if deadline is None and self._stop.is_set():
                # A cell takes up to drain_timeout from when it hears of it; its parts then have to come back.
                deadline = now + self._config.drain_timeout + 5.0
                self.drained = True
                self.desk.drain()
            if deadline is None and now >= self._due["nodes"]:
                self._due["nodes"] = now + _NODES_SECONDS
                self._look_at_nodes()
            for cell in [cell for cell, at in self._again.items() if now >= at]:
                del self._again[cell]
                self._send(cell)
            for heard in self._crew.hear(0.25):
                self._handle(heard)
            for cell in self.desk.expire(self._clock()):
                _log.warning("cell silent cell=%s seconds=%.0f", cell, self._config.lease_seconds)
            self._committer.check()
            if deadline is not None:
                waiting = [s for s in self.desk.seats.values() if not s.drained and not s.silent]
                if not waiting or self._clock() >= deadline:
                    return
            elif self._feed.exhausted and self.desk.table.open == 0:
                return
            self._look()

    def _look_at_nodes(self) -> None:
        draining = draining_nodes()
        taken = {node.id for node in self._crew.nodes.values()}
        nodes = nodes_for_cells(self._on_gpu)
        for cell, node in self._crew.nodes.items():
            if node.id in draining:
                self.desk.drain(cell)
        for node in nodes:
            if node.id not in taken and node.id not in draining and node.id not in self._retired:
                self._starting.add(self._crew.start(node))
                self.cells_started += 1
                self.used.add(node.id)
        self._ask_for_nodes([node for node in nodes if node.id not in draining and node.id not in self._retired])
        if not self._crew.nodes and nodes and all(node.id in self._retired for node in nodes):
            why = "; ".join(sorted(set(self._retired.values())))
            raise BrokenStageError(f"no cell can work on any of {len(nodes)} node(s): {why}")

    def _ask_for_nodes(self, nodes: list[Node]) -> None:
        """Ask an autoscaler for what the settings want beyond the nodes that are there; for one where there is none."""
        if nodes or self._crew.nodes:
            self._nodeless_since = None
        elif self._nodeless_since is None:
            self._nodeless_since = self._clock()
        missing = 0 if self._feed.exhausted and nodes else max(1, self._config.nodes) - len(nodes)
        # The largest size that is there: a smaller demand would find room beside the cell of a larger node.
        cpus = max((node.cpus for node in nodes), default=1)
        self._crew.ask_for_nodes(max(0, missing), cpus, int(self._on_gpu))

    def _handle(self, heard: Heard) -> None:
        node = self._crew.nodes.get(heard.cell)
        if node is None:
            return  # dismissed before
        now = self._clock()
        if heard.host is not None:
            self._starting.discard(heard.cell)
            _log.info("cell joined cell=%s host=%s cpus=%d gpus=%d", heard.cell, heard.host, node.cpus, node.gpus)
            self.desk.joined(heard.cell, now)
            if self._stop.is_set():
                self.desk.drain(heard.cell)
            self._send(heard.cell)
        elif heard.report is not None:
            state = heard.report.state
            if self.first_matte_at is None and state.first_matte_ago is not None:
                self.first_matte_at = now - state.first_matte_ago
            for shard, outcomes in self.desk.reported(heard.cell, heard.report, now):
                self._committer.submit(shard, outcomes)
                self._ended += len(outcomes)
                self._deaths[node.id] = 0
            if heard.report.broken:
                self._lose(heard.cell, node, heard.report.broken, sure=True, fatal=True)
            elif heard.report.drained:
                _log.info("cell left cell=%s", heard.cell)
                self._part(heard.cell, sure=True)
            else:
                self._send(heard.cell)
        elif heard.fault in (CellFault.SILENT, CellFault.REPLY_LOST):
            _log.warning("cell not heard cell=%s why=%s", heard.cell, heard.message)
            if heard.cell in self._starting:
                self._lose(heard.cell, node, heard.message, sure=True, fatal=False)
            else:
                self._again[heard.cell] = now + (_SILENT_SECONDS if heard.fault is CellFault.SILENT else 0.0)
        elif heard.fault is CellFault.NODE_GONE:
            _log.warning("node gone cell=%s why=%s", heard.cell, heard.message)
            self.cells_lost += 1
            self._part(heard.cell, sure=False)
        else:
            self._lose(heard.cell, node, heard.message, sure=True, fatal=heard.fatal)

    def _lose(self, cell: str, node: Node, why: str, *, sure: bool, fatal: bool) -> None:
        _log.warning("cell lost cell=%s fatal=%s why=%s", cell, fatal, why)
        self.cells_lost += 1
        self._deaths[node.id] += 1
        if fatal or self._deaths[node.id] >= MOST_DEATHS:
            self._retired[node.id] = why
        self._part(cell, sure=sure)

    def _part(self, cell: str, *, sure: bool) -> None:
        seat = self.desk.seats.get(cell)
        if seat is not None:
            self.ended_states.append(seat.state)
        self._starting.discard(cell)
        self._again.pop(cell, None)
        self._crew.dismiss(cell)
        self.desk.gone(cell, sure=sure)

    def _send(self, cell: str) -> None:
        seat = self.desk.seats.get(cell)
        if seat is not None:
            if self._ready_first and not seat.state.has_workers:
                seat.wants = 0
            self._crew.send(cell, self.desk.orders(cell, self._clock(), self._take))

    def _take(self) -> Shard | None:
        if self._committer.pending >= MOST_PENDING:
            return None
        shard = self._feed.take()
        if shard is not None:
            self._taken += len(shard.refs)
        return shard

    @property
    def states(self) -> list[CellState]:
        """Of the cells that run, and of those that ran."""
        return [*self.ended_states, *(seat.state for seat in self.desk.seats.values())]

    def wants_shards(self, *, workers_up: bool) -> bool:
        """Whether a cell would take another shard; workers_up: one that has a worker of each stage for it."""
        return (
            not self._over
            and self._committer.pending < MOST_PENDING
            and any(
                seat.wants and not seat.draining and (not workers_up or seat.state.has_workers)
                for seat in tuple(self.desk.seats.values())
            )
        )

    def wake(self) -> None:
        """Make a waiting loop look again; from any thread."""
        self._crew.wake()

    def figures(self) -> CellFigures:
        """All cells as one, for the metrics."""
        seats = self.desk.seats.values()
        now = self._clock()
        silent = sum(seat.silent for seat in seats)
        crew = CrewFigures(
            working=len(seats) - silent,
            starting=len(self._starting),
            silent=silent,
            lost=self.cells_lost,
            leased_again=self.desk.lost,
            silence=max((now - seat.heard_at for seat in seats), default=0.0),
            came_back=self._ended,
        )
        # Of a silent cell only what it did counts: others have its shards.
        every = joined(
            [seat.state.figures for seat in seats if not seat.silent],
            [*(seat.state.figures for seat in seats if seat.silent), *(state.figures for state in self.ended_states)],
        )
        # What waits for a cell that is gone is open, too: only the driver knows of it.
        return replace(every, shards_open=self.desk.table.open, draining=self.drained, crew=crew)

    def stages(self) -> tuple[StageState, ...]:
        """Summed over the cells that run and are heard of; what others have done is counted too."""
        sums: dict[str, StageState] = {}
        for state in self.states:
            for stage in state.stages:
                old = sums.get(stage.name, StageState(stage.name, 0, 0, 0, 0))
                sums[stage.name] = replace(old, done=old.done + stage.done)
        for seat in self.desk.seats.values():
            for stage in () if seat.silent else seat.state.stages:
                old = sums[stage.name]
                sums[stage.name] = StageState(
                    stage.name,
                    old.queued + stage.queued,
                    old.running + stage.running,
                    old.workers + stage.workers,
                    old.done,
                    old.images_per_second + stage.images_per_second,
                )
        return tuple(sums.values())

    def _look(self) -> None:
        now = self._clock()
        if now >= self._due["progress"]:
            self._due["progress"] = now + _PROGRESS_SECONDS
            self._tell()
        if now >= self._due["guard"]:
            self._due["guard"] = now + _GUARD_SECONDS
            self._check_nodes(now)
            stages = tuple(StageCounts(s.name, s.queued, s.running, s.workers, s.done) for s in self.stages())
            listing = not self._feed.exhausted
            self._guard.check(Snapshot(stages, self._ended, self._taken, listing, seen=self._seen()))

    def _check_nodes(self, now: float) -> None:
        if self._nodeless_since is not None and now - self._nodeless_since >= self._config.stall_timeout:
            what = "a CPU and a GPU" if self._on_gpu else "a CPU"
            raise JobStalledError(
                f"no node of the Ray cluster has offered {what} for {now - self._nodeless_since:.0f} s "
                "(stall_timeout): look at `ray status`, start a node, or look at the limits of the autoscaler's group. "
                "What has ended is kept: the same command goes on from there."
            )

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        seats = self.desk.seats.values()
        total = self._feed.found if self._feed.ended else None
        # A cell that died took images with it that ended but were in no closed shard: they are done again.
        done = sum(s.ended for s in self.states)
        done = max(self._ended, done if total is None else min(done, total))
        rate = sum(seat.state.images_per_second for seat in seats)
        silent = sum(seat.silent for seat in seats)
        note = f"cells {len(seats)}, starting {len(self._starting)}, silent {silent}, lost {self.cells_lost}"
        note += f", shards leased again {self.desk.lost}"
        if self._nodeless_since is not None:
            note = f"waiting for a node; {note}"
        self._on_progress(
            Progress(
                done=done,
                failed=sum(s.failed for s in self.states),
                total=total,
                images_per_second=rate,
                seconds=self._clock() - self._started,
                seconds_left=max(0, total - done) / rate if total is not None and rate > 0 else None,
                stages=self.stages(),
                already_done=self._already_done(),
                draining=self.drained,
                note=note,
            )
        )
