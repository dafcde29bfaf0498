"""Leases over many cells: a model with cells that die, pause, are slow and cut off, on clocks that differ."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from mattemill.cluster.cells.cell_desk import CellDesk, FencedError
from mattemill.cluster.cells.driver_desk import DriverDesk
from mattemill.cluster.cells.leases import LeaseTable
from mattemill.cluster.cells.messages import Orders, Report
from mattemill.pipeline.outcome import Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard, cut_into_shards, make_shard

LEASE = 10.0


def shards_of(n: int, size: int) -> list[Shard]:
    refs = [ImageRef(f"k{i:04d}", f"file:///in/k{i:04d}", f"e{i}", 10) for i in range(n)]
    return list(cut_into_shards(((ref, 0) for ref in refs), size))


def outcomes_of(shard: Shard, n: int | None = None) -> dict[str, Outcome]:
    return {ref.key: Matte(f"{ref.key}.png", 1) for ref in shard.refs[:n]}


class SimCell:
    """A cell around the real desk: works on one shard at a time; time stands still for it while it is paused."""

    def __init__(self, name: str, now: float, rng: random.Random) -> None:
        self.name = name
        self.offset = rng.uniform(-1e6, 1e6)  # its clock is another one
        self.seconds = rng.choice((0.3, 1.0, 1.0, 6.0))  # a shard; the slow ones take most of a lease
        self.paused_until = 0.0
        self.dead = False
        self.desk = CellDesk(LEASE, now + self.offset)
        self.epoch = 0
        self.doing: Shard | None = None
        self.ready_at = 0.0

    def clock(self, now: float) -> float:
        return now + self.offset

    def work(self, now: float) -> None:
        try:
            self.desk.check(self.epoch, self.clock(now))
        except FencedError:
            self.doing, self.epoch = None, self.desk.epoch
        if self.doing is not None and now >= self.ready_at:
            self.desk.finish(self.epoch, self.doing, outcomes_of(self.doing))
            self.doing = None
        if self.doing is None and (shard := self.desk.take(self.epoch)) is not None:
            self.doing, self.ready_at = shard, now + self.seconds

    def leave(self) -> None:
        """As after a drain: a part of what is in work is given back with the part's outcomes."""
        self.desk.draining = True
        if self.doing is not None:
            part = make_shard(self.doing.refs[: max(1, len(self.doing.refs) // 2)])
            self.desk.finish(self.epoch, part, outcomes_of(part))
            self.doing = None
        self.desk.stopped()


class Model:
    """The driver, its cells and a network between them that delays, and loses some answers."""

    def __init__(self, seed: int, images: int = 600) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.source = iter(shards_of(images, self.rng.choice((3, 16, 50))))
        self.exhausted = False
        self.images = images
        self.desk = DriverDesk(LEASE)
        self.rows: Counter[str] = Counter()
        self.cells: dict[str, SimCell] = {}
        self.most_open = 0
        self._names = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, delay: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), do))

    def take(self) -> Shard | None:
        shard = next(self.source, None)
        self.exhausted = shard is None
        return shard

    def add_cell(self) -> None:
        name = f"cell{next(self._names)}"
        self.cells[name] = SimCell(name, self.now, self.rng)
        self.desk.joined(name, self.now)
        self.send(name)

    def send(self, name: str) -> None:
        if name in self.desk.seats:
            orders = self.desk.orders(name, self.now, self.take)
            self.at(self.rng.uniform(0.0, 0.2), lambda: self.arrive(name, orders))
            if self.rng.random() < 0.1:  # an orders message that comes twice, the second time late
                self.at(self.rng.uniform(0.0, 30.0), lambda: self.arrive(name, orders, answered=False))

    def arrive(self, name: str, orders: Orders, answered: bool = True) -> None:
        cell = self.cells[name]
        if cell.dead:
            return
        if self.now < cell.paused_until:
            self.at(cell.paused_until - self.now + 0.01, lambda: self.arrive(name, orders, answered))
            return
        cell.desk.receive(orders, cell.clock(self.now))
        cell.work(self.now)
        report = cell.desk.report(cell.clock(self.now)) if answered else None
        if report is not None:
            if self.rng.random() < 0.05:  # the answer is lost; the driver notices and sends new orders
                self.at(self.rng.uniform(0.5, 2.0), lambda: self.send(name))
                return
            delay = self.rng.uniform(0.1, 0.7) if self.rng.random() < 0.97 else self.rng.uniform(5.0, 25.0)
            self.at(delay, lambda: self.report(name, report))

    def report(self, name: str, report: Report) -> None:
        for shard, outcomes in self.desk.reported(name, report, self.now):
            assert {ref.key for ref in shard.refs} == set(outcomes)
            self.rows.update(outcomes.keys())
        if report.drained:
            self.desk.gone(name, sure=True)
            return
        self.send(name)

    def chaos(self) -> None:
        alive = [cell for cell in self.cells.values() if not cell.dead]
        victim = self.rng.choice(alive)
        deed = self.rng.choice(("pause", "long pause", "kill", "power off", "leave", "join", "nothing"))
        if deed in ("pause", "long pause"):
            victim.paused_until = self.now + (self.rng.uniform(0.5, 5) if deed == "pause" else self.rng.uniform(8, 60))
        elif deed in ("kill", "power off") and len(alive) > 1:
            victim.dead = True
            name = victim.name
            self.at(self.rng.uniform(0.1, 5.0), lambda: self.desk.gone(name, sure=deed == "kill"))
            self.at(self.rng.uniform(0.1, 20.0), self.add_cell)
        elif deed == "leave" and len(alive) > 1 and self.now >= victim.paused_until:
            victim.leave()
            self.at(5.0, self.add_cell)
        elif deed == "join" and len(alive) < 6:
            self.add_cell()
        if self.now < 200:
            self.at(self.rng.expovariate(0.5), self.chaos)

    def tick(self) -> None:
        self.desk.expire(self.now)
        for cell in self.cells.values():
            if not cell.dead and self.now >= cell.paused_until:
                cell.work(self.now)
        self.look()
        self.at(0.1, self.tick)

    def look(self) -> None:
        """No shard is worked on by two cells whose processes run."""
        working = Counter(
            cell.doing.id
            for cell in self.cells.values()
            if cell.doing and not cell.dead and self.now >= cell.paused_until
        )
        assert max(working.values(), default=0) <= 1, f"two owners at {self.now}: {working}"
        self.most_open = max(self.most_open, self.desk.table.open)

    def run(self) -> None:
        for _ in range(3):
            self.add_cell()
        self.at(0.1, self.tick)
        self.at(1.0, self.chaos)
        while not (self.exhausted and self.desk.table.open == 0):
            self.now, _, do = heapq.heappop(self._events)
            assert self.now < 3600, f"not done: {sum(self.rows.values())} of {self.images}, {self.desk.table.open} open"
            do()


@pytest.mark.parametrize("seed", range(40))
def test_every_key_has_one_row_whatever_the_cells_do(seed: int) -> None:
    model = Model(seed)

    model.run()

    assert len(model.rows) == model.images
    assert set(model.rows.values()) == {1}


def test_the_model_has_late_results_and_lost_leases_to_be_right_about() -> None:
    models = [Model(seed) for seed in range(20)]
    for model in models:
        model.run()

    assert sum(model.desk.lost for model in models) > 20
    assert sum(model.desk.late for model in models) > 5


def test_no_more_is_cut_from_the_source_than_cells_ask_for() -> None:
    model = Model(3, images=5000)

    model.run()

    cells = 7  # at most at a time; each has AHEAD ready, one in work, and finished ones on their way
    assert model.most_open <= cells * 6


def test_a_silent_owner_loses_its_shards_and_its_late_result_is_not_taken() -> None:
    table = LeaseTable(LEASE)
    (shard,) = shards_of(4, 4)
    source = [shard]
    table.join("a#0", 0.0)
    table.join("b#0", 0.0)
    assert table.grant("a#0", 1, 1, 0.0, source.pop) == [shard]
    table.renew("b#0", 9.0)
    assert not table.lives("a#0", 10.0)
    table.leave("a#0")

    assert table.grant("b#0", 1, 1, 10.0, lambda: None) == [shard]
    assert table.finish("a#0", shard.id, outcomes_of(shard), whole=True) is None
    assert table.finish("b#0", shard.id, outcomes_of(shard), whole=True) == (shard, outcomes_of(shard))


def test_the_rest_of_a_part_goes_to_another_owner_as_a_shard_of_its_own() -> None:
    table = LeaseTable(LEASE)
    (shard,) = shards_of(4, 4)
    table.join("a#0", 0.0)
    table.grant("a#0", 1, 1, 0.0, [shard].pop)

    done = table.finish("a#0", shard.id, outcomes_of(shard, 3), whole=False)

    assert done is not None
    assert [ref.key for ref in done[0].refs] == ["k0000", "k0001", "k0002"]
    (rest,) = table.grant("a#0", 1, 2, 0.0, lambda: None)
    assert [ref.key for ref in rest.refs] == ["k0003"]
    assert len({shard.id, done[0].id, rest.id}) == 3


def test_a_cell_without_news_stops_before_its_lease_ends_at_the_driver() -> None:
    cell = CellDesk(LEASE, now=1000.0)
    (shard,) = shards_of(4, 4)
    cell.receive(Orders(0, 1, 0, (shard,)), 1000.5)
    cell.check(0, 1006.9)

    with pytest.raises(FencedError):
        cell.check(0, 1007.0)
    assert not cell.finish(0, shard, outcomes_of(shard))


def test_orders_that_were_on_their_way_for_a_whole_lease_give_nothing() -> None:
    cell = CellDesk(LEASE, now=0.0)
    (shard,) = shards_of(4, 4)

    cell.receive(Orders(0, 1, 0, (shard,)), 30.0)

    assert cell.take(0) is None
    assert shard.id not in cell.report(30.0).holding
