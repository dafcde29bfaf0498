"""A cell without Ray: a discrete-event simulation of workers around the real coordinator.

Public to the tests and to the benchmark. Time is simulated; a run of a thousand images takes a fraction of a second.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mattemill.cluster.actions import (
    Call,
    CellPlan,
    DropPayload,
    Fault,
    KillWorker,
    Passed,
    Reply,
    ShardClosed,
    StagePlan,
    StartWorker,
)
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.images import item_slots
from mattemill.cluster.tracing.traces import Traces
from mattemill.pipeline.outcome import Facts, Failure, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import Shard, cut_into_shards
from mattemill.pipeline.stages.messages import Stored


def refs(n: int, size: int | None = 100_000) -> list[ImageRef]:
    """n references: k00000, k00001, ..."""
    return [ImageRef(key=f"k{i:05d}", uri=f"file:///in/k{i:05d}", etag=f"e{i}", size=size) for i in range(n)]


def shards_of(n: int, size: int = 32) -> list[Shard]:
    """n references in shards of `size`."""
    return list(cut_into_shards(((ref, 0) for ref in refs(n)), size))


def split_plan(workers: int = 2, **changes: Any) -> CellPlan:
    """A plan of five stages."""
    stages = tuple(StagePlan(name, workers) for name in ("fetch", "detect", "segment", "matte", "store"))
    return CellPlan(stages=stages, **{"gate_bytes": 10**9, **changes})


def fused_plan(workers: int = 2, **changes: Any) -> CellPlan:
    """A plan of three stages."""
    stages = tuple(StagePlan(name, workers) for name in ("fetch", "cut", "store"))
    return CellPlan(stages=stages, **{"gate_bytes": 10**9, **changes})


@dataclass
class Behaviour:
    """What the simulated stages do. Sets hold keys of images; a stage name says where it strikes.

    fails_crop: key -> the crop of it that fails in the segment stage, while its other crops pass.
    seconds: simulated time an item, by stage. random_deaths, random_losses: chances a call. stored: told of each matte
    when the store stage has written it.
    decoded: bytes of an image by key. fan_out: crops by key.
    """

    seconds: Callable[[str, random.Random], float] = lambda stage, rng: rng.uniform(0.001, 0.05)
    raises: Mapping[str, str] = field(default_factory=dict)  # key -> stage
    kills: Mapping[str, str] = field(default_factory=dict)
    hangs: Mapping[str, str] = field(default_factory=dict)
    sickens: Mapping[str, str] = field(default_factory=dict)
    fails: Mapping[str, str] = field(default_factory=dict)
    fails_crop: Mapping[str, int] = field(default_factory=dict)
    random_deaths: float = 0.0
    random_losses: float = 0.0
    start_failures: int = 0
    in_order: bool = True
    decoded: Callable[[str], int] = lambda key: 1_000_000
    fan_out: Callable[[str], int] = lambda key: 1
    payload_bytes: int = 1000
    stored: Callable[[str], None] = lambda key: None


class _Worker:
    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.queue: list[Call] = []
        self.running: Call | None = None
        self.alive = True


class SimulatedCell:
    """Runs shards to their end. `outcomes` by key; `committed` are the shards that closed.

    pauses: moment -> seconds for which everything stands still from then on, the workers too; the clock goes on.
    """

    def __init__(
        self,
        plan: CellPlan,
        behaviour: Behaviour,
        seed: int = 0,
        fetch_batch: int = 32,
        traces: Traces | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.behaviour = behaviour
        self.coordinator = Coordinator(plan, self.now, fetch_batch=fetch_batch, traces=traces)
        self.outcomes: dict[str, Outcome] = {}
        self.committed: list[str] = []
        self.live: set[int] = set()
        self.dropped_twice = 0
        self.blamed_calls = 0
        self.overdraft_allowed = 0
        self.worst_excess = 0
        self.calls = 0
        self.pauses: dict[float, float] = {}
        self.batches: dict[str, list[int]] = {}
        self._workers: dict[int, _Worker] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._handles = count(1)
        self._lost: set[int] = set()
        self._start_failures = behaviour.start_failures

    def run(self, shards: list[Shard], *, drain_at: float | None = None, most_events: int = 2_000_000) -> None:
        """Until nothing is open (or, once drained, nothing is in flight)."""
        waiting = list(reversed(shards))
        self._at(0.25, self._tick)
        for _ in range(most_events):
            while waiting and self.coordinator.wants_shards:
                self.coordinator.offer(waiting.pop())
            if not waiting:
                self.coordinator.source_done()
            if drain_at is not None and self.now >= drain_at and not self.coordinator.draining:
                waiting.clear()
                self.coordinator.drain()
            self._act()
            if self.coordinator.draining:
                if self.coordinator.in_flight == 0:
                    return
            elif not waiting and self.coordinator.open_shards == 0:
                return
            self.advance()
        raise AssertionError(f"not done after {most_events} events: {self.coordinator.in_flight} in flight")

    def advance(self) -> None:
        """To the next event, and through it."""
        self.now, _, event = heapq.heappop(self._events)
        self.coordinator.at(self.now)
        event()

    def _act(self) -> None:
        for action in self.coordinator.actions():
            match action:
                case StartWorker(stage, worker):
                    self._workers[worker] = _Worker(stage)
                    self._at(
                        self.rng.uniform(0.1, 0.5), lambda stage=stage, worker=worker: self._started(stage, worker)
                    )
                case KillWorker(_, worker):
                    dead = self._workers.pop(worker, None)
                    if dead is not None:
                        self._die(dead)
                case DropPayload(handle):
                    if handle not in self.live:
                        self.dropped_twice += 1
                    self.live.discard(handle)
                case ShardClosed(shard, outcomes):
                    assert list(outcomes) == [ref.key for ref in shard.refs]
                    self.committed.append(shard.id)
                    for key, outcome in outcomes.items():
                        assert key not in self.outcomes, f"{key} has two outcomes"
                        self.outcomes[key] = outcome
                case Call():
                    self.calls += 1
                    self.batches.setdefault(action.stage, []).append(len(action.items))
                    self._check_inputs(action)
                    worker = self._workers.get(action.worker)
                    if worker is None or not worker.alive:
                        self._at(0.001, lambda call=action: self._failed(call, Fault.DIED, "the actor is dead"))
                    else:
                        worker.queue.append(action)
                        self._next(worker)
        gate = self.coordinator.gate
        self.worst_excess = max(self.worst_excess, gate.held - gate.capacity)

    def _check_inputs(self, call: Call) -> None:
        for item in call.items:
            for argument in item_slots(call.stage, item):
                for slot in argument if isinstance(argument, list) else [argument]:
                    if isinstance(slot, tuple):
                        assert slot[0].handle in self.live, f"{call.stage} is sent a payload that was dropped"

    def _started(self, stage: str, worker_id: int) -> None:
        if worker_id not in self._workers:
            return
        if self._start_failures > 0:
            self._start_failures -= 1
            self.coordinator.worker_failed(worker_id, stage, "RuntimeError: no", fatal=False)
        else:
            self.coordinator.worker_ready(worker_id, stage, "cpu")

    def _next(self, worker: _Worker) -> None:
        if worker.running is not None or not worker.queue or not worker.alive:
            return
        at = 0 if self.behaviour.in_order else self.rng.randrange(len(worker.queue))
        call = worker.running = worker.queue.pop(at)
        keys = [item.image.ref.key for item in call.items]
        b, stage = self.behaviour, call.stage
        if any(b.hangs.get(key) == stage for key in keys):
            return
        seconds = sum(b.seconds(stage, self.rng) for _ in keys)
        if any(b.kills.get(key) == stage for key in keys) or self.rng.random() < b.random_deaths:
            self._at(seconds, lambda: self._die(worker))
        else:
            self._at(seconds, lambda: self._complete(worker, call, seconds))

    def _complete(self, worker: _Worker, call: Call, seconds: float) -> None:
        if not worker.alive:
            return
        worker.running = None
        b, stage = self.behaviour, call.stage
        keys = [item.image.ref.key for item in call.items]
        if any(b.raises.get(key) == stage for key in keys):
            self.coordinator.call_failed(call.id, Fault.RAISED, "ValueError: bad")
        elif any(b.sickens.get(key) == stage for key in keys):
            self.coordinator.call_failed(call.id, Fault.SICK, "EngineError: nan")
        elif stage != "fetch" and self.rng.random() < b.random_losses:
            self.coordinator.call_failed(call.id, Fault.LOST, "ObjectLostError: gone")
        else:
            handle = next(self._handles)
            self.live.add(handle)
            results: list[Passed | Failure] = []
            for item in call.items:
                key = item.image.ref.key
                if b.fails.get(key) == stage or (stage == "segment" and b.fails_crop.get(key) == item.crop):
                    results.append(Failure(Reason.NO_SUBJECT, stage, "nothing there"))
                elif stage == "store":
                    b.stored(key)
                    results.append(Passed(Facts(), output=Stored(f"{key}.png", 10, 30, 20)))
                elif stage == "fetch":
                    results.append(Passed(Facts(width=1, height=1), held_bytes=b.decoded(key)))
                else:
                    results.append(Passed(Facts(), fan_out=b.fan_out(key) if stage == "detect" else 1))
            reply = Reply(results, seconds, seconds, b.payload_bytes * len(keys), f"node:{call.worker}", "cpu")
            self.coordinator.replied(call.id, reply, handle)
        self._next(worker)

    def _die(self, worker: _Worker) -> None:
        worker.alive = False
        calls = ([worker.running] if worker.running else []) + worker.queue
        for call in calls:
            self._at(0.01, lambda call=call: self._failed(call, Fault.DIED, "ActorDiedError: signal 11"))
        worker.running, worker.queue = None, []

    def _failed(self, call: Call, fault: Fault, message: str) -> None:
        self.coordinator.call_failed(call.id, fault, message)

    def _tick(self) -> None:
        for at in [at for at in self.pauses if at <= self.now]:
            seconds = self.pauses.pop(at)
            self.now += seconds
            self._events = [(when + seconds, order, event) for when, order, event in self._events]
        self.coordinator.tick(self.now)
        self._at(0.25, self._tick)

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))
