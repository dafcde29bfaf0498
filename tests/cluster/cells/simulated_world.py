"""A job over many cells in simulated time: the real driver's loop, desks, coordinators and ledger; faults by a seed.

What is simulated: time, the workers, the messages (late, lost, doubled), the nodes, and an object store that may refuse
writes. A seed gives one schedule and one course of events.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from threading import Event
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from memory_store import MemoryStore
from simulated_chaos import (
    BOUND,
    CONFIG,
    FINGERPRINT,
    LAYOUT,
    LEASE,
    ROOT,
    START,
    STEP,
    BrokenRuleError,
    DriverKilledError,
    Fault,
    schedule,
)
from simulated_driver import DriversStore, Feed, Writes
from simulated_processes import Process, Processes

from mattemill.cluster.cells import cells_loop
from mattemill.cluster.cells.cell_desk import CellDesk
from mattemill.cluster.cells.crew import CellFault, Heard, Node
from mattemill.cluster.cells.messages import Orders
from mattemill.cluster.committer import Committer
from mattemill.pipeline.errors import MattemillError, StoreError
from mattemill.pipeline.ledger.holder import Holder
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.outcome_file import decode
from mattemill.pipeline.photo import ImageRef


class World(Processes):
    """`run` does the whole job, with as many drivers as it takes, and raises BrokenRuleError; then look at the rest."""

    def __init__(self, seed: int, images: int = 120, faults: list[Fault] | None = None) -> None:
        self.rng = random.Random(f"course {seed}")
        self.now = 0.0
        self.faults = schedule(seed) if faults is None else faults
        self.struck: list[str] = []
        self.store = MemoryStore(lambda: START + timedelta(seconds=self.now))
        self.refs = [ImageRef(f"k{i:05d}", f"{ROOT}/k{i:05d}", f"e{i}", 10) for i in range(images)]
        stages = ("fetch", "cut", "store")
        poison = iter(self.rng.sample(range(images), 5))
        self.behaviour: dict[str, dict[str, str]] = {
            kind: {f"k{next(poison):05d}": self.rng.choice(stages)}
            for kind in ("raises", "kills", "hangs", "sickens", "fails")
        }
        self.bad = {key for keys in self.behaviour.values() for key in keys}
        self.store_away_until = 0.0
        self.writes_to_death = -1
        self.driver_dead = False
        self.drivers = 0
        self.processes: dict[str, Process] = {}
        self.cells: dict[str, Node] = {}
        self.live: dict[str, Node] = {}
        self.told_to_end: set[str] = set()
        self.slow_until: dict[str, float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._heard: list[Heard] = []
        self._numbers = count(1)
        self._loop: Any = None
        self._writes: Writes | None = None
        for _ in range(3):
            self.add_node()

    # ---- the job ----

    def run(self) -> None:
        """Drivers one after another until one ends well, each after a longer pause, as a Kubernetes Job's pods come."""
        with (
            patch.object(cells_loop, "nodes_for_cells", lambda on_gpu: sorted(self.live.values(), key=lambda n: n.id)),
            patch.object(cells_loop, "draining_nodes", lambda: set(self.told_to_end)),
        ):
            while not self._drive():
                self.processes.clear()  # Ray ends a driver's cells with it
                self.cells.clear()
                self._heard.clear()
                self._pass(self.rng.uniform(1.0, 5.0) * min(1.3**self.drivers, 60.0))

    def _drive(self) -> bool:
        self.drivers += 1
        if self.drivers > 25:
            raise BrokenRuleError("no driver comes to an end")
        self.driver_dead, self.writes_to_death = False, -1
        me = Holder("host", self.drivers, "1", "boot", "ns", f"run{self.drivers}", "")
        store: Any = DriversStore(self)
        try:
            ledger = Ledger.at(
                store,
                LAYOUT,
                CONFIG,
                FINGERPRINT,
                ROOT,
                now=lambda: START + timedelta(seconds=self.now),
                holder=me,
                lives=lambda holder: False,
            )
            committer = Committer(ledger, clock=lambda: self.now)
            committer.close()
            self._writes = Writes(self)
            committer._pool = self._writes  # type: ignore[assignment]
            self._loop = cells_loop.CellsLoop(
                self,  # type: ignore[arg-type]
                Feed(ledger, self.refs),
                committer,
                CONFIG,
                on_gpu=False,
                already_done=lambda: 0,
                seen=lambda: 0,
                on_progress=None,
                stop=Event(),
                started=self.now,
                clock=lambda: self.now,
            )
            self._loop.run()
            ledger.finish_job()
            ledger.close()
        except DriverKilledError:
            return False
        except MattemillError as error:
            if not isinstance(error, StoreError) and "no cell can work" not in str(error):
                raise BrokenRuleError(f"the job gave up: {type(error).__name__}: {error}") from error
            self.struck.append(f"driver gave up: {error}")
            return False
        finally:
            self._writes = None
        return True

    def kill_driver(self) -> None:
        self.driver_dead = True
        raise DriverKilledError

    def check(self) -> None:
        """Every key exactly one row, of the right kind; mattes and rows agree; the failure log holds the failures."""
        rows: Counter[str] = Counter()
        mattes, failures, logged = set(), set(), Counter[str]()
        for key in sorted(self.store.objects):
            data = self.store.objects[key][0]
            if key.startswith(LAYOUT.outcomes(FINGERPRINT)):
                for row in decode(data, key).table.select(["key", "outcome", "output_key"]).to_pylist():
                    rows[row["key"]] += 1
                    (mattes if row["outcome"] == "matte" else failures).add(row["output_key"] or row["key"])
            elif key.startswith(LAYOUT.failures) and key.endswith(".parquet"):
                logged.update(_logged(data))
        wanted = {ref.key for ref in self.refs}
        there = {key for key in self.store.objects if not key.startswith("_mattemill/")}
        _must(set(rows) == wanted, f"keys without a row: {sorted(wanted - set(rows))}")
        _must(set(rows.values()) == {1}, f"doubled rows: {[key for key, n in rows.items() if n > 1]}")
        _must(mattes == there, f"rows and mattes differ: {sorted(mattes ^ there)}")
        _must(failures == self.bad, f"failed: {sorted(failures)}, should have: {sorted(self.bad)}")
        _must(logged == Counter(self.bad), f"the failure log holds {logged}")

    # ---- what the driver's loop calls: a crew ----

    @property
    def nodes(self) -> dict[str, Node]:
        """name of a cell -> its node."""
        return self.cells

    def start(self, node: Node) -> str:
        name = f"{node.id}-{next(self._numbers)}"
        self.cells[name] = node

        def up() -> None:
            if name not in self.cells or node.id not in self.live:
                return
            offset, rate = self.rng.uniform(-1e6, 1e6), self.rng.uniform(0.95, 1.05)
            self.processes[name] = Process(name, node, CellDesk(LEASE, offset + rate * self.now), offset, rate)
            self._heard.append(Heard(name, host=node.id))

        self.at(self.rng.uniform(0.2, 1.5), up)
        return name

    def ask_for_nodes(self, number: int, cpus: int, gpus: int) -> None: ...

    def send(self, cell: str, orders: Orders) -> None:
        luck, delay = self.rng.random(), self.rng.uniform(0.0, 0.1)
        if luck < 0.01:
            self.at(self.rng.uniform(0.5, 3.0), lambda: self._tell(Heard(cell, fault=CellFault.SILENT, message="lost")))
            return
        self.at(delay, lambda: self._arrive(cell, orders, answered=True))
        if luck < 0.06:
            self.at(self.rng.uniform(0.0, 20.0), lambda: self._arrive(cell, orders, answered=False))

    def hear(self, timeout: float) -> list[Heard]:
        until = self.now + timeout
        while not self._heard and self.now < until:
            self.step()
        if self.driver_dead:
            raise DriverKilledError
        heard, self._heard = self._heard, []
        return heard

    def dismiss(self, cell: str) -> None:
        self.cells.pop(cell, None)
        process = self.processes.get(cell)
        if process is not None and self.now >= process.cut_until:
            del self.processes[cell]  # beyond a cut network it is not reached, and works on

    # ---- time ----

    def at(self, delay: float, do: Callable[[], None]) -> None:
        self._events.append((self.now + delay, next(self._numbers), do))

    def step(self) -> None:
        self.now += STEP
        if self.now > BOUND:
            raise BrokenRuleError(f"not done after {BOUND:.0f} s: {self._loop.desk.table.open} shards open")
        while self.faults and self.now >= self.faults[0].at:
            self._strike(self.faults.pop(0))
        due = sorted(event for event in self._events if event[0] <= self.now)
        self._events = [event for event in self._events if event[0] > self.now]
        for _, _, do in due:
            do()
        for process in list(self.processes.values()):
            self._live(process)
        if self.driver_dead:
            raise DriverKilledError
        if self._writes is not None:
            for write in self._writes.waiting:
                if not write.done():
                    write.attempt()
            self._writes.waiting = [write for write in self._writes.waiting if not write.done()]

    def _pass(self, seconds: float) -> None:
        self.driver_dead = False
        until = self.now + seconds
        while self.now < until:
            try:
                self.step()
            except DriverKilledError:
                self.driver_dead = False

    # ---- nodes and their faults ----

    def add_node(self) -> None:
        name = f"node{next(self._numbers)}"
        self.live[name] = Node(name, cpus=2, gpus=0, store_bytes=2**28)

    def _strike(self, fault: Fault) -> None:
        names = sorted(self.processes)
        cell = self.processes[names[fault.pick % len(names)]] if names else None
        self.struck.append(f"{fault.kind} at {fault.at:.1f} for {fault.seconds:.1f}")
        match fault.kind:
            case "store_refuses":
                self.store_away_until = self.now + fault.seconds
            case "driver_dies":
                self.driver_dead = True
            case "driver_dies_in_a_write":
                self.writes_to_death = 1 + fault.pick % 6
            case _ if cell is not None:
                self._strike_cell(fault, cell)

    def _strike_cell(self, fault: Fault, cell: Process) -> None:
        node = cell.node.id
        match fault.kind:
            case "cell_dies":
                del self.processes[cell.name]
                self._tell(Heard(cell.name, fault=CellFault.DIED, message="killed"))
            case "worker_dies" if cell.sim is not None and cell.sim._workers:
                workers = list(cell.sim._workers.values())
                cell.sim._die(workers[fault.pick % len(workers)])
            case "node_dies" | "node_told_to_end":
                if fault.kind == "node_told_to_end":
                    self.told_to_end.add(node)
                self.at(fault.seconds / 2 if node in self.told_to_end else 0.0, lambda: self._end_node(node))
                self.at(self.rng.uniform(2.0, 20.0), self.add_node)
            case "cut_off":  # shorter than Ray's patience: everything comes later
                cell.cut_until = self.now + min(fault.seconds / 3, 12.0)
            case "cut_off_for_good":
                cell.cut_until = self.now + fault.seconds
                self.live.pop(node, None)
                gone = Heard(cell.name, fault=CellFault.NODE_GONE, message="no heartbeat")
                self.at(self.rng.uniform(1.0, 5.0), lambda: self._tell(gone))
                self.at(fault.seconds, lambda: self._back(cell, node))
            case "node_frozen":
                cell.frozen_until = self.now + fault.seconds / 4
            case "node_slow":
                self.slow_until[node] = self.now + fault.seconds

    def _end_node(self, node: str) -> None:
        self.live.pop(node, None)
        for name, process in list(self.processes.items()):
            if process.node.id == node:
                del self.processes[name]
                self._tell(Heard(name, fault=CellFault.NODE_GONE, message="node has died"))

    def _back(self, cell: Process, node: str) -> None:
        """Ray ends what was on a node that it had given up; the machine comes back as another node."""
        self.processes.pop(cell.name, None)
        self.add_node()


def _logged(data: bytes) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return [str(key) for key in pq.read_table(pa.BufferReader(data), columns=["key"]).column("key").to_pylist()]


def _must(holds: bool, message: str) -> None:
    if not holds:
        raise BrokenRuleError(message)


def run_seed(seed: int) -> SimpleNamespace:
    """One seed to its end, checked. Raises BrokenRuleError. Gives faults, images, drivers, simulated seconds."""
    world = World(seed)
    world.run()
    world.check()
    return SimpleNamespace(faults=world.struck, images=len(world.refs), drivers=world.drivers, seconds=world.now)
