"""Cells without Ray and without waiting: the driver's real loop over the real desks, on a clock that the test turns."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mattemill.cluster.cells.cell_desk import CellDesk, FencedError
from mattemill.cluster.cells.cells_loop import CellsLoop
from mattemill.cluster.cells.crew import CellFault, Heard, Node
from mattemill.cluster.cells.messages import CellState, Orders
from mattemill.cluster.progress import Progress, StageState
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard, cut_into_shards, make_shard

STEP = 0.25
SHARD_SECONDS = 2.0


def node(name: str) -> Node:
    return Node(name, cpus=2, gpus=0, store_bytes=2**28)


def outcomes_of(shard: Shard) -> dict[str, Outcome]:
    return {ref.key: Matte(f"{ref.key}.png", 1) for ref in shard.refs}


@dataclass(slots=True)
class _Process:
    node: Node
    desk: CellDesk
    doing: Shard | None = None
    since: float = 0.0
    epoch: int = 0
    ended: int = 0
    asked: bool = False


@dataclass(slots=True)
class Source:
    """A feed of `images` keys in shards of `size`."""

    images: int
    size: int
    taken: int = 0
    exhausted: bool = False
    ended: bool = True
    _shards: Any = None

    @property
    def found(self) -> int:
        return self.images

    def take(self) -> Shard | None:
        if self._shards is None:
            refs = (ImageRef(f"k{i:04d}", f"file:///in/k{i:04d}", f"e{i}", 10) for i in range(self.images))
            self._shards = iter(cut_into_shards(((ref, 0) for ref in refs), self.size))
        shard: Shard | None = next(self._shards, None)
        self.exhausted = shard is None
        self.taken += len(shard.refs) if shard is not None else 0
        return shard


@dataclass(slots=True)
class Rows:
    """A committer that counts rows a key."""

    rows: Counter[str] = field(default_factory=Counter)
    pending: int = 0

    def submit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> None:
        assert {ref.key for ref in shard.refs} == outcomes.keys()
        self.rows.update(outcomes.keys())

    def check(self) -> None: ...

    def drain(self) -> None: ...


class SimulatedCrew:
    """What `Crew` is to the loop. `at(seconds, do)`: what happens meanwhile. Nodes are in `live`."""

    def __init__(self, lease: float, *names: str) -> None:
        self.now = 1000.0
        self.live = {name: node(name) for name in names}
        self.draining: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.started: list[str] = []
        self.shards_by_node: Counter[str] = Counter()
        self.asked_for: list[tuple[int, int, int]] = []
        self.fails_to_start: dict[str, bool] = {}
        self.workers_up_at: dict[str, float] = {}
        self._lease = lease
        self._processes: dict[str, _Process] = {}
        self._heard: list[Heard] = []
        self._script: list[tuple[float, Callable[[], None]]] = []
        self._numbers = count(1)

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        self._script.append((1000.0 + seconds, do))

    def cells_on(self, name: str) -> list[str]:
        return [cell for cell, process in self._processes.items() if process.node.id == name]

    def kill_cell_on(self, name: str) -> None:
        """The process of the cell ends, as by a segfault; the node stays."""
        for cell in self.cells_on(name):
            del self._processes[cell]
            self._heard.append(Heard(cell, fault=CellFault.DIED, message="killed"))

    def start(self, place: Node) -> str:
        name = f"{place.id}-{next(self._numbers)}"
        self.nodes[name] = place
        self.started.append(place.id)
        if place.id in self.fails_to_start:
            fatal = self.fails_to_start[place.id]
            self._heard.append(Heard(name, fault=CellFault.BROKEN, message="no network here", fatal=fatal))
        else:
            self._processes[name] = _Process(place, CellDesk(self._lease, self.now))
            self._heard.append(Heard(name, host=place.id))
        return name

    def ask_for_nodes(self, number: int, cpus: int, gpus: int) -> None:
        """Every change is kept in `asked_for`."""
        if self.asked_for[-1:] != [(number, cpus, gpus)]:
            self.asked_for.append((number, cpus, gpus))

    def send(self, cell: str, orders: Orders) -> None:
        process = self._processes.get(cell)
        if process is None:
            return  # its end is told of already
        process.desk.receive(orders, self.now)
        process.asked = True

    def hear(self, timeout: float) -> list[Heard]:
        self.now += min(timeout, STEP)
        for event in [event for event in self._script if self.now >= event[0]]:
            self._script.remove(event)
            event[1]()
        for cell, process in list(self._processes.items()):
            self._work(process)
            if process.asked:
                process.asked = False
                up = int(self.now >= self.workers_up_at.get(process.node.id, 0.0))
                stages = (StageState("cut", 0, int(process.doing is not None), up, process.ended),)
                state = CellState(ended=process.ended, stages=stages)
                self._heard.append(Heard(cell, report=process.desk.report(self.now, state)))
        heard, self._heard = self._heard, []
        return heard

    def dismiss(self, cell: str) -> None:
        self._processes.pop(cell, None)
        self.nodes.pop(cell, None)

    def _work(self, process: _Process) -> None:
        desk = process.desk
        try:
            desk.check(process.epoch, self.now)
        except FencedError:
            process.doing, process.epoch = None, desk.epoch
        if desk.draining and not desk.drained:
            if process.doing is not None:  # half of it was in flight and ends
                part = make_shard(process.doing.refs[: len(process.doing.refs) // 2])
                self._finish(process, part)
            desk.stopped()
        if process.doing is not None and self.now >= process.since + SHARD_SECONDS:
            self._finish(process, process.doing)
        if process.doing is None and (shard := desk.take(process.epoch)) is not None:
            process.doing, process.since = shard, self.now
            self.shards_by_node[process.node.id] += 1

    def _finish(self, process: _Process, shard: Shard) -> None:
        process.desk.finish(process.epoch, shard, outcomes_of(shard))
        process.ended += len(shard.refs)
        process.doing = None


@dataclass(slots=True)
class Run:
    """A loop with everything around it."""

    crew: SimulatedCrew
    source: Source
    rows: Rows
    stop: threading.Event
    loop: CellsLoop
    notes: list[Progress]


def make_run(
    monkeypatch: Any, crew: SimulatedCrew, source: Source, lease: float, *, nodes: int = 0, ready_first: bool = False
) -> Run:
    """The loop over this crew; Ray's lists of nodes are the crew's."""
    from mattemill.cluster.cells import cells_loop

    def live(on_gpu: bool) -> list[Node]:
        return sorted(crew.live.values(), key=lambda one: one.id)

    monkeypatch.setattr(cells_loop, "nodes_for_cells", live)
    monkeypatch.setattr(cells_loop, "draining_nodes", lambda: set(crew.draining))
    rows, stop, notes = Rows(), threading.Event(), list[Progress]()
    made: Any = cells_loop.CellsLoop
    loop: CellsLoop = made(
        crew,
        source,
        rows,
        JobConfig(lease_seconds=lease, stall_timeout=120.0, drain_timeout=20.0, nodes=nodes),
        on_gpu=False,
        already_done=lambda: 0,
        seen=lambda: source.taken,
        on_progress=notes.append,
        stop=stop,
        started=crew.now,
        ready_first=ready_first,
        clock=lambda: crew.now,
    )
    return Run(crew, source, rows, stop, loop, notes)
