"""The Ray actor that is a cell: the machinery of a job on one node, under the driver's orders. A thin shell."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mattemill.cluster.cell import Cell
from mattemill.cluster.cells.cell_desk import CellDesk, FencedError
from mattemill.cluster.cells.messages import CellState
from mattemill.cluster.layout import lay_out
from mattemill.cluster.main_loop import MainLoop
from mattemill.cluster.metrics.cell_figures import CellFigures, figures_of, joined
from mattemill.cluster.progress import Progress
from mattemill.cluster.quick_pickle import Packed, pack, unpack
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import MattemillError, ModelError
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.shard import Shard

_log = logging.getLogger(__name__)

WAIT = 0.5
"""Seconds that a report waits for news: so old is the driver's last sign of life at most."""


@dataclass(frozen=True, slots=True)
class CellPlace:
    """What a cell is told of its node. config: cpus are the node's. store_bytes, gpu_bytes: of the node.

    ready_first: workers start before there is a shard, for a service, whose first one shall not wait for them.
    """

    node_id: str
    config: JobConfig
    sink: str
    module: str
    folder: str | None
    device: str
    gpus: int
    gpu_bytes: int
    store_bytes: int
    fingerprint: str
    environment: Mapping[str, str]
    ready_first: bool = False


class CellActor:
    """`start` once, then `exchange` again and again, one call at a time; the work is in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def start(self, place: CellPlace) -> str:
        """Get ready; unless `ready_first`, no worker is started before the first shard. Returns the node's host name.

        Raises ModelError when this node would make other mattes than the driver's.
        """
        os.environ.update(place.environment)
        if place.folder is not None and place.folder not in sys.path:
            sys.path.append(place.folder)
        config = place.config
        mine = config.fingerprint(importlib.import_module(place.module).model_hashes(config))
        host = os.uname().nodename
        if mine != place.fingerprint:
            raise ModelError(
                f"node {host} would make job {mine}, not {place.fingerprint}: its networks or its mattemill are of "
                "another version; install the same and run `mattemill models fetch` there"
            )
        self._place = place
        self._state = CellState()
        self._cell: Cell | None = None
        self._before: list[CellFigures] = []
        self._stop = threading.Event()
        self._desk = CellDesk(config.lease_seconds, time.monotonic())
        threading.Thread(target=self._run, name="mattemill-cell", daemon=True).start()
        return host

    def exchange(self, packed: Packed) -> Packed:
        """Orders in, a report out, at the latest after WAIT seconds."""
        with self._changed:
            self._desk.receive(unpack(packed), time.monotonic())
            if self._desk.draining:
                self._stop.set()
            self._changed.notify_all()
            if self._cell is not None:
                self._cell.wake()
            self._changed.wait_for(lambda: self._desk.has_results or self._desk.drained, WAIT)
            return pack(self._desk.report(time.monotonic(), self._state))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._desk.has_ready or self._desk.draining or self._place.ready_first)
                epoch = self._desk.epoch
                if self._desk.draining:
                    break
            try:
                self._work(epoch)
                break
            except FencedError as error:
                _log.warning("cell fenced epoch=%d why=%s", epoch, error)
            except BaseException as error:  # of any kind: the driver must know
                why = str(error) if isinstance(error, MattemillError) else f"{type(error).__name__}: {error}"
                with self._changed:
                    self._desk.stopped(why or type(error).__name__)
                    self._changed.notify_all()
                return
        with self._changed:
            self._desk.stopped()
            self._changed.notify_all()

    def _work(self, epoch: int) -> None:
        place = self._place
        layout = lay_out(place.config, place.device, place.gpus, place.store_bytes, place.gpu_bytes)
        cell = Cell(
            layout.plan,
            place.config,
            place.sink,
            module=place.module,
            gpu_shares=layout.gpu_shares,
            node_id=place.node_id,
        )
        self._cell = cell
        side = _DriverSide(self._desk, self._changed, epoch, lambda: self._count(cell))
        loop = MainLoop(
            cell,
            side,
            side,
            place.config,
            layout,
            already_done=lambda: 0,
            # Waiting for the driver is no stall: whether the driver waits for too long, it judges itself.
            seen=lambda: int(time.monotonic()),
            on_progress=lambda progress: self._note(cell, progress),
            stop=self._stop,
            started=time.monotonic(),
        )
        try:
            loop.run()
        finally:
            cell.close()
            self._cell = None
            self._before = [joined([], [*self._before, figures_of(cell.coordinator, time.monotonic())])]
            # The driver must not believe in workers that are gone, nor in work that they hold.
            idle = (replace(s, queued=0, running=0, workers=0, images_per_second=0.0) for s in self._state.stages)
            self._state = replace(self._state, images_per_second=0.0, stages=tuple(idle), figures=self._before[0])

    def _count(self, cell: Cell) -> None:
        """What has ended, as it is now: no outcome comes to the driver before it is counted."""
        coordinator = cell.coordinator
        self._state = replace(
            self._state,
            ended=coordinator.ended,
            failed=sum(coordinator.failed.values()),
            figures=joined([figures_of(coordinator, time.monotonic())], self._before),
        )

    def _note(self, cell: Cell, progress: Progress) -> None:
        coordinator = cell.coordinator
        first = coordinator.first_matte_at
        self._state = CellState(
            ended=progress.done,
            failed=progress.failed,
            images_per_second=progress.images_per_second,
            stages=progress.stages,
            devices=dict(coordinator.devices),
            workers={name: pool.target for name, pool in coordinator.pools.items()},
            retries=coordinator.counters.retries,
            deaths=coordinator.counters.deaths,
            peak_bytes=coordinator.gate.peak_held,
            first_matte_ago=None if first is None else time.monotonic() - first,
            # What was done before a fence counts on: a counter must not fall.
            figures=joined([figures_of(coordinator, time.monotonic())], self._before),
        )


class _DriverSide:
    """The driver, as the loop of a job sees it: a feed of shards, and where closed ones go."""

    found = 0
    ended = False
    exhausted = False
    pending = 0

    def __init__(
        self, desk: CellDesk, changed: threading.Condition, epoch: int, before_submit: Callable[[], None]
    ) -> None:
        self._before_submit = before_submit
        self._desk = desk
        self._changed = changed
        self._epoch = epoch

    def take(self) -> Shard | None:
        with self._changed:
            return self._desk.take(self._epoch)

    def submit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> None:
        self._before_submit()
        with self._changed:
            self._desk.finish(self._epoch, shard, outcomes)
            self._changed.notify_all()

    def check(self) -> None:
        """Raises FencedError, on which the loop ends without submitting anything."""
        with self._changed:
            self._desk.check(self._epoch, time.monotonic())

    def drain(self) -> None:
        """Nothing waits here: what was submitted lies at the desk."""
