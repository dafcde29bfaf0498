"""A night on many nodes with faults: which node does which shard when, and what is done twice.

Real: on each node the coordinator (admission, pools, when the next shard is wanted, the one end of every image, the
closing of shards). It sees units of many images instead of images, since 10 million of them at 60 us each would be ten
minutes. Model: how long a unit takes (drawn from a detailed run of one node, `node_run`, with its workers, batches and
shared cores), the driver's leases (a node asks when its coordinator wants a shard, a silent node's leases go to others
after a while; leases over several cells are not built yet), the store (the first commit of a shard stands, a later one
is dropped), boots, deaths, cuts of the network, and slow nodes.

Since units are coarse, a node holds more shards ahead here (2.2 on 8 cores) than in the detailed run (1.3); both are
given with the result.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import numpy.typing as npt

from mattemill.cluster.errors import FinishedTwiceError
from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.estimate import Wanted
from mattemill.cluster.planning.night_node import NightNode
from mattemill.cluster.planning.node_run import NodeRun, run_node, steady_part
from mattemill.cluster.planning.rates import Rates
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard

UNITS_A_SHARD = 4
"""With 2 a dead node costs half as much again and the tail is twice as long; 8 changes neither further (tried)."""
DETAILED_IMAGES = 4000
"""Images of the detailed run, whole shards of them in its steady part: about a second of CPU."""

_STALLED = 5 * 86_400.0
"""Seconds without a commit after which the simulation gives up: dying nodes would be replaced for ever."""

_MOST_DEATHS = 0.01  # of a network item in the run that shows what one worker's death costs: some tens of deaths


@dataclass(frozen=True, slots=True)
class Night:
    """What came out; times in seconds from asking for the nodes to the last commit, shares 0..1.

    cut, failures: images by their end; together exactly the images that were wanted. nodes: that were started, with
    replacements. node_seconds: of all of them, boots included. repeated: images whose work was done more than once, or
    lost. late_commits: of shards that another node had committed by then. idle: by node, of its time from the first
    command on: the least, the middle one, the most. tail: from the moment when no shard was left to lease to the end.
    unit: images. detail: the detailed run behind it. open_shards: a node, mean over time; to be compared with the
    detailed run's. death_seconds: that one worker's death costs its node.
    """

    cut: int
    failures: int
    seconds: float
    nodes: int
    node_seconds: float
    node_deaths: int
    cut_offs: int
    worker_deaths: int
    slow_nodes: int
    repeated: int
    late_commits: int
    shards: int
    idle: tuple[float, float, float]
    tail: float
    unit: int
    open_shards: float
    death_seconds: float
    detail: NodeRun

    @property
    def hours(self) -> float:
        return self.seconds / 3600.0


def simulate_night(
    wanted: Wanted,
    nodes: int,
    rates: Rates,
    assume: Assumptions,
    *,
    seed: int = 0,
    detailed_images: int = DETAILED_IMAGES,
) -> Night:
    """Simulate the job on `nodes` nodes. Deterministic by its seed.

    Raises FinishedTwiceError when an image ends twice or not at all, a bug of ours, and UsageError when nodes die so
    often that none finishes a shard.
    """
    images = max(50, min(detailed_images, wanted.images // nodes))  # no node does more than about its part
    detail = run_node(
        rates, wanted, images, seed=seed, image_failures=assume.image_failures, shard_size=assume.shard_size
    )
    deadly = run_node(rates, wanted, images, seed=seed, worker_deaths=_MOST_DEATHS, shard_size=assume.shard_size)
    calm = run_node(rates, wanted, images, seed=seed, shard_size=assume.shard_size)
    costs = (_steady_seconds(deadly) - _steady_seconds(calm)) / max(1, deadly.deaths) / 0.8
    return _Night(wanted, nodes, rates, assume, seed, detail, max(0.0, costs)).run()


def _steady_seconds(run: NodeRun) -> float:
    first, last = steady_part(run.images)
    return run.ended[last] - run.ended[first]


def _unit_seconds(detail: NodeRun, unit: int) -> list[float]:
    """Seconds in which a node ends `unit` images, at many moments of the steady part of its detailed run."""
    first, last = steady_part(detail.images)
    ended: npt.NDArray[np.float64] = np.asarray(detail.ended[first : last + 1])
    span = min(unit, len(ended) - 1)
    found: list[float] = ((ended[span:] - ended[:-span]) * (unit / span)).tolist()
    return found


class _Night:
    def __init__(
        self,
        wanted: Wanted,
        nodes: int,
        rates: Rates,
        assume: Assumptions,
        seed: int,
        detail: NodeRun,
        death_seconds: float,
    ) -> None:
        self._wanted, self._rates, self._assume = wanted, rates, assume
        self._wanted_nodes = nodes
        self._detail = detail
        self._death_seconds = death_seconds
        self._rng = random.Random(seed)
        # The largest unit of which whole ones make a shard.
        self._units_a_shard = UNITS_A_SHARD if assume.shard_size % UNITS_A_SHARD == 0 else 1
        self._unit = assume.shard_size // self._units_a_shard
        self._shards = math.ceil(wanted.images / assume.shard_size)
        units = math.ceil(wanted.images / self._unit)
        drawn = np.random.default_rng(seed)
        sizes = np.full(units, self._unit)
        sizes[-1] = wanted.images - (units - 1) * self._unit
        self._failed: list[int] = drawn.binomial(sizes, assume.image_failures).tolist()
        self._deaths: list[int] = drawn.poisson(sizes * assume.worker_deaths * 1e-6).tolist()
        self._seconds = _unit_seconds(detail, self._unit)
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._numbers = count(1)
        self._nodes: list[NightNode] = []
        self._next_shard = 0
        self._returned: deque[int] = deque()
        self._committed = bytearray(self._shards)
        self._ends = bytearray(wanted.images)
        self._left = self._shards
        self._committed_at = 0.0
        self._alive: dict[int, NightNode] = {}
        self._finished: dict[int, tuple[float, float]] = {}  # node -> seconds it lived, idle share
        self._node_seconds = 0.0
        self._counts = dict.fromkeys(
            ("failures", "cut", "deaths", "cut_offs", "worker_deaths", "slow", "repeated", "late"), 0
        )
        self._nothing_left_at = 0.0
        self._open_sum = self._looks = 0

    def run(self) -> Night:
        for _ in range(self._wanted_nodes):
            self._ask_for_node()
        while self._left:
            if not self._events or self._now > self._committed_at + _STALLED:
                raise UsageError(
                    f"the simulated night stands still: no shard was committed for {_STALLED / 86_400:.0f} days, "
                    f"{self._left:,} are left; with nodes that die so often none may live for a whole shard"
                )
            self._now, _, event = heapq.heappop(self._events)
            event()
        if self._ends.count(1) != self._wanted.images or self._committed.count(1) != self._shards:
            raise FinishedTwiceError(f"{self._ends.count(1)} of {self._wanted.images} simulated images have ended")
        for node in list(self._alive.values()):
            self._retire(node)
        idle = sorted(share for _, share in self._finished.values())
        c = self._counts
        return Night(
            cut=c["cut"],
            failures=c["failures"],
            seconds=self._now,
            nodes=next(self._numbers) - 1,
            node_seconds=self._node_seconds,
            node_deaths=c["deaths"],
            cut_offs=c["cut_offs"],
            worker_deaths=c["worker_deaths"],
            slow_nodes=c["slow"],
            repeated=c["repeated"],
            late_commits=c["late"],
            shards=self._shards,
            idle=(idle[0], idle[len(idle) // 2], idle[-1]),
            tail=self._now - self._nothing_left_at,
            unit=self._unit,
            open_shards=self._open_sum / max(1, self._looks),
            death_seconds=self._death_seconds,
            detail=self._detail,
        )

    # ---- nodes ----

    def _ask_for_node(self) -> None:
        number = next(self._numbers)
        boot = self._assume.boot_seconds * self._rng.uniform(0.8, 1.2)
        asked = self._now
        self._at(boot, partial(self._join, number, asked))

    def _join(self, number: int, asked: float) -> None:
        slow = self._rng.random() < self._assume.slow_nodes
        self._counts["slow"] += slow
        node = NightNode(
            number, self._now, self._assume.slow_factor if slow else 1.0, begin=self._begin, closed=self._close
        )
        self._alive[number] = node
        self._node_seconds += self._now - asked
        self._at(self._rates.start_seconds, partial(self._work, node))
        if self._assume.node_deaths > 0.0:
            self._at(self._rng.expovariate(self._assume.node_deaths / 86_400.0), partial(self._fault, node))

    def _fault(self, node: NightNode) -> None:
        """The node dies for good, or is cut off for some minutes; either way the driver hears nothing of it."""
        if not node.alive:
            return
        cut_off = self._rng.random() < self._assume.cut_offs
        self._counts["cut_offs" if cut_off else "deaths"] += 1
        self._at(self._assume.notice_seconds, partial(self._take_leases, node, tuple(node.open.items())))
        if cut_off:
            node.cut_off = True
            self._at(self._rng.uniform(30.0, 600.0), partial(self._heal, node))
            self._at(self._rng.expovariate(self._assume.node_deaths / 86_400.0), partial(self._fault, node))
            return
        done = sum(self._images_of(key) for keys in node.images_begun.values() for key in keys)
        part = 0.0
        if node.running is not None and self._now > node.started:
            node.busy += self._now - node.started
            took = self._detail.rate * (self._now - node.started) / node.factor
            part = min(took, float(self._images_of(node.running.items[0].image.ref.key)))
        held = sum(self._images_in(int(shard.id)) for shard in node.held)
        self._counts["repeated"] += done + round(part) + held
        node.alive = False
        self._retire(node)
        self._ask_for_node()

    def _heal(self, node: NightNode) -> None:
        if not node.alive:
            return
        node.cut_off = False
        for shard in node.held:
            self._commit(node, shard)
        node.held.clear()
        self._work(node)

    def _retire(self, node: NightNode) -> None:
        """The node is gone, or the job has ended: its account is closed."""
        del self._alive[node.number]
        lived = self._now - node.joined
        if node.alive and node.running is not None:
            node.busy += self._now - node.started
        self._node_seconds += lived
        if lived > 0.0:
            self._finished[node.number] = (lived, 1.0 - min(1.0, node.busy * (1.0 - self._detail.idle) / lived))

    # ---- leases and commits ----

    def _work(self, node: NightNode) -> None:
        """Lease what the node's coordinator wants, and let it go on."""
        if not node.alive:
            return
        node.coordinator.at(self._now)
        while not node.cut_off and node.coordinator.wants_shards:
            number = self._lease(node)
            if number is None:
                break
            node.offer(number, self._shard(number))
        self._open_sum += node.coordinator.open_shards
        self._looks += 1
        node.pump()

    def _lease(self, node: NightNode) -> int | None:
        """The next shard for a node: one that came back, else a new one; None when there is none for it."""
        for _ in range(len(self._returned)):
            number = self._returned.popleft()
            if self._committed[number]:
                continue
            if str(number) not in node.open:
                self._note_if_none_left()
                return number
            self._returned.append(number)
        if self._next_shard < self._shards:
            self._next_shard += 1
            self._note_if_none_left()
            return self._next_shard - 1
        return None

    def _note_if_none_left(self) -> None:
        if not self._returned and self._next_shard == self._shards:
            self._nothing_left_at = self._now

    def _take_leases(self, node: NightNode, leases: tuple[tuple[str, int], ...]) -> None:
        """The driver has heard nothing of a node: what it had then and has not committed goes to others."""
        if node.alive and not node.cut_off:
            return  # it is back in time, and keeps what it has
        self._returned.extend(number for _, number in leases if not self._committed[number])
        for other in list(self._alive.values()):
            if other is not node and other.running is None:
                self._work(other)

    def _close(self, node: NightNode, shard: Shard) -> None:
        if node.cut_off:
            node.held.append(shard)
        else:
            self._commit(node, shard)

    def _commit(self, node: NightNode, shard: Shard) -> None:
        """The shard's one PUT with If-None-Match: the first stands, a later one changes nothing."""
        number = node.open.pop(shard.id)
        if self._committed[number]:
            self._counts["late"] += 1
            self._counts["repeated"] += self._images_in(number)
            return
        self._committed[number] = 1
        self._left -= 1
        self._committed_at = self._now
        for ref in shard.refs:
            unit = int(ref.key)
            first, n = unit * self._unit, self._images_of(ref.key)
            if self._ends.count(1, first, first + n):
                raise FinishedTwiceError(f"simulated images {first} to {first + n - 1} end a second time")
            self._ends[first : first + n] = b"\1" * n
            self._counts["failures"] += self._failed[unit]
            self._counts["cut"] += n - self._failed[unit]

    # ---- units ----

    def _begin(self, node: NightNode, key: str) -> None:
        n = self._images_of(key)
        seconds = self._rng.choice(self._seconds) * n / self._unit
        deaths = self._deaths[int(key)]
        self._counts["worker_deaths"] += deaths
        self._counts["repeated"] += deaths  # the image that its worker had in hand
        seconds += deaths * self._death_seconds
        self._at(seconds * node.factor, partial(self._end, node))

    def _end(self, node: NightNode) -> None:
        if node.alive:
            node.finish(self._now)
            self._work(node)

    def _shard(self, number: int) -> Shard:
        first = number * self._units_a_shard
        units = range(first, min(first + self._units_a_shard, len(self._failed)))
        refs = tuple(ImageRef(str(unit), "", None, self._images_of(str(unit))) for unit in units)
        return Shard(str(number), refs)

    def _images_of(self, key: str) -> int:
        return min(self._unit, self._wanted.images - int(key) * self._unit)

    def _images_in(self, number: int) -> int:
        return min(self._assume.shard_size, self._wanted.images - number * self._assume.shard_size)

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), event))
