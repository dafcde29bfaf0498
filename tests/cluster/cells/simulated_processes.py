"""Cells in simulated time: the real desk, and around the real coordinator a simulated node. What a world is made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memory_store import MemoryStore
from simulated_cell import Behaviour, SimulatedCell, fused_plan
from simulated_chaos import CONFIG, STEP, BrokenRuleError

from mattemill.cluster.cells.cell_desk import CellDesk, FencedError
from mattemill.cluster.cells.crew import CellFault, Heard, Node
from mattemill.cluster.cells.messages import CellState, Orders, Report
from mattemill.cluster.progress import StageState
from mattemill.pipeline.errors import MattemillError
from mattemill.pipeline.shard import Shard, make_shard


@dataclass
class Talk:
    """One exchange that has arrived at a cell."""

    orders: Orders
    answered: bool
    until: float = 0.0
    begun: bool = False


@dataclass
class Process:
    """A cell: the real desk, and around the real coordinator a simulated node. Its clock is another one."""

    name: str
    node: Node
    desk: CellDesk
    offset: float
    rate: float
    sim: SimulatedCell | None = None
    epoch: int = 0
    born: float = 0.0
    behind: float = 0.0
    committed: int = 0
    offered: dict[str, Shard] = field(default_factory=dict)
    frozen_until: float = 0.0
    cut_until: float = 0.0
    drain_by: float | None = None
    inbox: list[Talk] = field(default_factory=list)


class Processes:
    """The cells of a world and the messages between them and the driver: late, lost, doubled."""

    now: float
    rng: random.Random
    store: MemoryStore
    behaviour: dict[str, dict[str, str]]
    processes: dict[str, Process]
    cells: dict[str, Node]
    slow_until: dict[str, float]
    _heard: list[Heard]
    _loop: Any

    def at(self, delay: float, do: Callable[[], None]) -> None:
        raise NotImplementedError

    def _tell(self, heard: Heard) -> None:
        if heard.cell in self.cells:
            self._heard.append(heard)

    def _arrive(self, cell: str, orders: Orders, *, answered: bool) -> None:
        process = self.processes.get(cell)
        if process is None:
            return
        if self.now < process.cut_until:
            self.at(process.cut_until - self.now + STEP, lambda: self._arrive(cell, orders, answered=answered))
        else:
            process.inbox.append(Talk(orders, answered))

    def _answer(self, process: Process, report: Report) -> None:
        name = process.name
        if self.now < process.cut_until:
            self.at(process.cut_until - self.now, lambda: self._answer(process, report))
            return
        if self.rng.random() < 0.01:
            lost = Heard(name, fault=CellFault.REPLY_LOST, message="lost")
            self.at(self.rng.uniform(0.1, 1.0), lambda: self._tell(lost))
            return
        delay = self.rng.uniform(0.0, 0.1) if self.rng.random() < 0.995 else self.rng.uniform(3.0, 15.0)
        self.at(delay, lambda: self._tell(Heard(name, report=report)))

    def _live(self, process: Process) -> None:
        if self.now < process.frozen_until:
            process.behind += STEP
            return
        desk, clock = process.desk, process.offset + process.rate * self.now
        try:
            desk.check(process.epoch, clock)
        except FencedError:
            process.sim, process.epoch = None, desk.epoch
        self._exchange(process, clock)
        if process.sim is None and process.epoch == desk.epoch and desk.has_ready and not desk.draining:
            self._begin(process)
        try:
            self._work(process)
        except MattemillError as error:
            process.sim = None
            desk.stopped(f"{type(error).__name__}: {error}")

    def _exchange(self, process: Process, clock: float) -> None:
        desk = process.desk
        while process.inbox:
            talk = process.inbox[0]
            if not talk.begun:
                desk.receive(talk.orders, clock)
                talk.begun, talk.until = True, self.now + 0.5
            if talk.answered and not (desk.has_results or desk.drained or self.now >= talk.until):
                return
            process.inbox.pop(0)
            if talk.answered:
                self._answer(process, desk.report(clock, _state(process)))

    def _begin(self, process: Process) -> None:
        name, epoch, node = process.name, process.epoch, process.node.id

        def seconds(stage: str, rng: random.Random) -> float:
            slow = 3.0 if self.now < self.slow_until.get(node, 0.0) else 1.0
            return rng.uniform(0.3, 1.2) * slow

        def stored(key: str) -> None:
            self._written(key, f"{name}#{epoch}")

        settings: Mapping[str, Any] = self.behaviour
        behaviour = Behaviour(seconds=seconds, stored=stored, random_losses=0.01, **settings)
        process.sim = SimulatedCell(
            fused_plan(call_timeout=4.0), behaviour, self.rng.randrange(2**32), fetch_batch=CONFIG.fetch_batch
        )
        process.born, process.behind, process.offered = self.now, 0.0, {}
        process.sim._at(0.25, process.sim._tick)

    def _work(self, process: Process) -> None:
        sim, desk = process.sim, process.desk
        if sim is None:
            if desk.draining and not desk.drained:
                desk.stopped()
            return
        coordinator = sim.coordinator
        if desk.draining and process.drain_by is None:
            process.drain_by = self.now + CONFIG.drain_timeout
            coordinator.drain()
        local = self.now - process.born - process.behind
        while True:
            while coordinator.wants_shards and (shard := desk.take(process.epoch)) is not None:
                process.offered[shard.id] = shard
                coordinator.offer(shard)
            sim._act()
            if not sim._events or sim._events[0][0] > local:
                break
            sim.advance()
        for shard_id in sim.committed:
            shard = process.offered.pop(shard_id)
            desk.finish(process.epoch, shard, {ref.key: sim.outcomes[ref.key] for ref in shard.refs})
            process.committed += len(shard.refs)
        sim.committed.clear()
        if process.drain_by is not None and (coordinator.in_flight == 0 or self.now >= process.drain_by):
            for shard, outcomes in coordinator.finished_parts():
                part = make_shard((ref for ref in shard.refs if ref.key in outcomes), shard.generation)
                desk.finish(process.epoch, part, {ref.key: outcomes[ref.key] for ref in part.refs})
            process.sim = None
            desk.stopped()

    def _written(self, key: str, owner: str) -> None:
        self.store.put(f"{key}.png", b"matte of " + key.encode(), content_type="image/png")
        leases = {} if self._loop is None else self._loop.desk.table._leases
        for lease in leases.values():
            if lease.owner != owner and any(ref.key == key for ref in lease.shard.refs):
                raise BrokenRuleError(f"{owner} wrote {key}, which was leased to {lease.owner}")


def _state(process: Process) -> CellState:
    """What `CellActor` tells of its coordinator: the driver's stall guard sees by it that the cell moves."""
    if process.sim is None:
        return CellState()
    coordinator = process.sim.coordinator
    return CellState(
        ended=coordinator.ended,
        stages=tuple(
            StageState(name, pool.waiting, pool.busy_items, pool.up, pool.done)
            for name, pool in coordinator.pools.items()
        ),
    )
