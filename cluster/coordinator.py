"""The coordinator of a cell: what every image does next. Pure; events in, actions out, the clock injected.

Events: `offer` (a shard), `worker_ready`, `worker_failed`, `replied`, `call_failed`, `tick`, `drain`. After any of them
`actions()` gives what the shell has to do. Each event costs O(1) in the number of workers and of waiting images.

An image ends in `finish`, once; a second call raises. A shard closes when its outcomes equal its images, else that
raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from mattemill.cluster.actions import (
    Action,
    Call,
    CellPlan,
    Counters,
    DropPayload,
    Fault,
    KillWorker,
    Passed,
    Reply,
    ShardClosed,
    StartWorker,
)
from mattemill.cluster.admission import Admission
from mattemill.cluster.calibration import Calibration
from mattemill.cluster.errors import BrokenStageError, FinishedTwiceError
from mattemill.cluster.faults import Again, Verdict, after_exception, after_loss
from mattemill.cluster.gate import Gate
from mattemill.cluster.images import Image, Item, OpenShard, Payload, join_facts
from mattemill.cluster.pool import StagePool, Worker
from mattemill.cluster.stock import Stock
from mattemill.cluster.tracing.traces import Traces
from mattemill.pipeline.outcome import Facts, Failure, Matte, Outcome
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import Shard

_PAUSE = 5.0
"""Seconds between two ticks above which this process was itself stopped (Ctrl-Z, a paused machine)."""


class Coordinator:
    """State of one cell. Not thread-safe: one thread pumps it.

    `devices` and `pools` are for reading: what ran where, and the state of the stages. traces: of which images the way
    is written down, None = of none.
    """

    def __init__(self, plan: CellPlan, now: float, *, fetch_batch: int = 32, traces: Traces | None = None) -> None:
        self.plan = plan
        self._traces = traces
        self.gate = Gate(plan.gate_bytes, largest=plan.largest, store_capacity=plan.store_bytes)
        self.calibration = Calibration()
        self.pools = {stage.name: StagePool(stage, plan.window, plan.batch_age) for stage in plan.stages}
        self.counters = Counters(
            calls=dict.fromkeys(self.pools, 0),
            items=dict.fromkeys(self.pools, 0),
            seconds=dict.fromkeys(self.pools, 0.0),
        )
        self.devices: dict[str, str] = {}
        self.ended = 0
        self.offered = 0
        self.closed_shards = 0
        self.first_matte_at: float | None = None
        self.failed: dict[str, int] = {}
        self.draining = False
        self._source_done = False
        self._now = now
        self._ticked = now
        self._order = tuple(self.pools.values())
        self._open: dict[str, OpenShard] = {}
        self._stock = Stock(fetch_batch, widest=max(stage.workers for stage in plan.stages[1:]))
        self._admission = Admission(self.gate, self._stock)
        self._calls: dict[int, Call] = {}
        self._call_ids = count(1)
        self._worker_ids = count(1)
        self._actions: deque[Action] = deque()
        for pool in self._order:
            for _ in range(pool.target):
                self._start_worker(pool)

    # ---- events ----

    def offer(self, shard: Shard) -> None:
        """Take a shard to do. Raises ValueError when it holds a key twice (its outcomes could not equal its images)."""
        if shard.id in self._open:
            raise ValueError(f"shard {shard.id} is open already")
        if len({ref.key for ref in shard.refs}) != len(shard.refs):
            raise ValueError(f"shard {shard.id} holds the same key twice; the source must list each key once")
        home = self._open[shard.id] = OpenShard(shard)
        self._admission.offer(home)
        self.offered += len(shard.refs)
        if not shard.refs:
            self._close(home)

    def source_done(self) -> None:
        """No more shards will be offered: partly filled batches need not wait for them."""
        self._source_done = True

    def worker_ready(self, worker_id: int, stage: str, device: str = "") -> None:
        """A worker has built its stage."""
        pool = self.pools[stage]
        worker = pool.workers.get(worker_id)
        if worker is not None and not worker.ready:
            pool.ready(worker)
            if device:
                self.devices[stage] = device

    def worker_failed(self, worker_id: int, stage: str, message: str, *, fatal: bool) -> None:
        """A worker could not start. fatal: another try would end the same way (no model, no such device).

        Raises BrokenStageError with the worker's message when it is fatal or has happened too often in a row.
        """
        pool = self.pools[stage]
        if pool.remove(worker_id) is None:
            return
        pool.start_deaths += 1
        self.counters.deaths += 1
        self._actions.append(KillWorker(stage, worker_id))
        if fatal or pool.start_deaths >= self.plan.start_deaths:
            times = "" if pool.start_deaths == 1 else f" {pool.start_deaths} times in a row"
            raise BrokenStageError(f"stage {stage}: its worker could not start{times}: {message}")
        self._start_worker(pool)

    def replied(self, call_id: int, reply: Reply, handle: Any) -> None:
        """A call is back; `handle` is its payload."""
        call = self._calls.pop(call_id, None)
        if call is None:
            self._actions.append(DropPayload(handle))
            return
        pool = self.pools[call.stage]
        pool.ended(call, self._now)
        pool.losses = 0
        pool.done += len(call.items)
        n = len(call.items)
        self.calibration.observe(call.stage, n, reply.seconds, reply.core_seconds)
        self.counters.seconds[call.stage] += reply.seconds
        for kind, times in (reply.store_errors or {}).items():
            self.counters.store_errors[kind] = self.counters.store_errors.get(kind, 0) + times
        if reply.device:
            self.devices[call.stage] = reply.device
        payload = Payload(handle, reply.output_bytes)
        # Held while the results are gone through: an image that ends at its second crop lets go of its first, which
        # must not drop the payload of its neighbours in the call.
        payload.uses = 1
        self.gate.keep(payload.n_bytes)
        own = Facts(
            seconds={call.stage: reply.seconds / n},
            worker={call.stage: reply.worker},
            device={call.stage: reply.device},
        )
        for position, (item, result) in enumerate(zip(call.items, reply.results, strict=True)):
            if item.stale:
                continue
            item.image.facts.append(own)
            if item.image.traced is not None and self._traces is not None:
                self._traces.returned(item, call, reply, self._now)
            if isinstance(result, Passed):
                pool.raises = 0
                self._passed(item, call.stage, result, payload, position)
            else:
                self.finish(item.image, result)
        self._let_go(payload)

    def call_failed(self, call_id: int, fault: Fault, message: str) -> None:
        """A call has ended without a reply."""
        call = self._calls.get(call_id)
        if call is None:
            return
        pool = self.pools[call.stage]
        if fault is Fault.RAISED or fault is Fault.LOST:
            del self._calls[call_id]
            pool.ended(call, self._now)
            self.counters.retries += 1
            self._gone_wrong(call, fault)
            if fault is Fault.LOST:
                for image in {id(item.image): item.image for item in call.items if not item.stale}.values():
                    self._fetch_again(image, message)
                return
            self._carry_out(pool, after_exception(call, message))
            if len(call.items) == 1:
                pool.raises += 1
                if pool.raises >= self.plan.raises:
                    raise BrokenStageError(
                        f"stage {call.stage} failed on {pool.raises} images in a row, lastly with: {message}"
                    )
            return
        worker = pool.remove(call.worker)
        if worker is None:
            return
        self._lose(pool, worker, fault, message)

    def tick(self, now: float) -> None:
        """Time passes: calls over their deadline lose their worker. Call it a few times a second.

        Time in which it was not called does not count against a call: the workers may have been stopped as well, and
        their answers have not been read.
        """
        paused, self._ticked = now - self._ticked - _PAUSE, now
        if paused > 0:
            for pool in self._order:
                pool.forgive(paused, now)
        self._now = now
        self._stock.tick(now, self.ended)
        for pool in self._order:
            seconds_an_item = self.calibration.seconds(pool.plan.name)
            for call in pool.overdue(now, self.plan.call_timeout, seconds_an_item):
                worker = pool.remove(call.worker)
                if worker is not None:
                    self.counters.timeouts += 1
                    seconds = now - call.began
                    message = f"{len(call.items)} item(s) of stage {call.stage} had run for {seconds:.0f} s"
                    self._lose(pool, worker, Fault.TIMED_OUT, message)
            for worker in [w for w in pool.workers.values() if not w.ready]:
                if now - worker.since > self.plan.start_timeout:
                    waited = f"it had not started after {self.plan.start_timeout:.0f} s"
                    self.worker_failed(worker.id, pool.plan.name, waited, fatal=False)

    def at(self, now: float) -> None:
        """Set the clock (seconds), before an event."""
        self._now = now

    def drain(self) -> None:
        """Admit nothing more; what is in flight goes on."""
        self.draining = True
        self._admission.clear()

    def resize(self, workers: Mapping[str, int]) -> None:
        """Aim for these many workers: more are started at once, surplus ones end when they are idle."""
        for name, wanted in workers.items():
            pool = self.pools[name]
            pool.target = max(1, wanted)
            while len(pool.workers) < pool.target:
                self._start_worker(pool)

    # ---- what the shell asks ----

    def actions(self) -> Iterator[Action]:
        """What to do now, in order; empties itself."""
        self._admit()
        before_empty = self._source_done or self.draining
        before_empty = before_empty and not self._admission
        for pool in self._order:
            self._dispatch(pool, before_empty)
            before_empty = before_empty and pool.empty
        while self._actions:
            yield self._actions.popleft()

    @property
    def wants_shards(self) -> bool:
        """Whether another shard should be offered, so that admission never waits for the source."""
        return not self.draining and self._admission.wants_more

    @property
    def in_flight(self) -> int:
        """Images that are admitted and have no outcome."""
        return self.gate.permits

    @property
    def open_shards(self) -> int:
        """Shards that are offered and not closed."""
        return len(self._open)

    @property
    def rate(self) -> float:
        """Outcomes a second, lately."""
        return self._stock.rate

    def batch_size(self, stage: str) -> int:
        """Items that a full batch of a stage holds now."""
        return self._batch_size(self.pools[stage])

    def finished_parts(self) -> list[tuple[Shard, Mapping[str, Outcome]]]:
        """Of every open shard, what has ended: after a drain, to be committed as smaller shards."""
        return [(home.shard, dict(home.outcomes)) for home in self._open.values() if home.outcomes]

    def take_closed(self) -> list[ShardClosed]:
        """The closed shards that `actions` has not given yet, taken out of it: for when nothing else is to be done."""
        closed = [action for action in self._actions if isinstance(action, ShardClosed)]
        self._actions = deque(action for action in self._actions if not isinstance(action, ShardClosed))
        return closed

    def next_wake(self) -> float | None:
        """When a waiting batch closes by its age; None when nothing waits for that."""
        closes = [close for pool in self._order if (close := pool.queue.next_close()) is not None]
        return min(closes, default=None)

    # ---- the end of an image ----

    def finish(self, image: Image, outcome: Outcome) -> None:
        """The one way in which an image ends. Raises FinishedTwiceError on a second call for it."""
        if image.closed:
            raise FinishedTwiceError(f"{image.ref.key} has ended already and was to end again as {outcome}")
        image.closed = True
        self._release(image)
        image.permit.finish()
        if image.queued:
            self._stock.held -= 1
        if image.traced is not None and self._traces is not None:
            image.facts.append(Facts(trace=self._traces.ended(image, self._now)))
        facts = join_facts(image.facts, image.attempts, outcome.facts)
        ended: Outcome
        if isinstance(outcome, Matte):
            if self.first_matte_at is None:
                self.first_matte_at = self._now
            ended = Matte(outcome.output_key, outcome.output_bytes, facts, outcome.output_width, outcome.output_height)
        else:
            ended = Failure(outcome.reason, outcome.stage, outcome.message, outcome.preview, facts)
            self.failed[outcome.reason] = self.failed.get(outcome.reason, 0) + 1
        image.facts = []
        home = image.home
        if image.ref.key in home.outcomes:
            raise FinishedTwiceError(f"{image.ref.key} has an outcome in shard {home.shard.id} already")
        home.outcomes[image.ref.key] = ended
        self.ended += 1
        if len(home.outcomes) == len(home.shard.refs):
            self._close(home)

    def _close(self, home: OpenShard) -> None:
        keys = [ref.key for ref in home.shard.refs]
        if set(keys) != set(home.outcomes):
            raise FinishedTwiceError(f"shard {home.shard.id}: its outcomes are not those of its images")
        del self._open[home.shard.id]
        self.closed_shards += 1
        self._actions.append(ShardClosed(home.shard, {key: home.outcomes[key] for key in keys}))

    # ---- the way of an image ----

    def _admit(self) -> None:
        if not self.draining:
            fetch = self._order[0]
            for image in self._admission.admit(fetch.busy_items):
                if self._traces is not None:
                    self._traces.admitted(image, self._now)
                self._enqueue(fetch, Item(image, 0, 0), None)

    def _enqueue(self, pool: StagePool, item: Item, key: int | None) -> None:
        image = item.image
        if image.queued == 0:
            self._stock.held += 1
        image.queued += 1
        pool.put(item, key, image.held_bytes, self._now)

    def _dispatch(self, pool: StagePool, before_empty: bool) -> None:
        name = pool.plan.name
        while (surplus := pool.surplus()) is not None:
            self._actions.append(KillWorker(name, surplus.id))
        if not (pool.queue or pool.again or pool.suspects):
            return
        size = self._batch_size(pool)
        seconds = self.calibration.seconds(name)
        # What was admitted is all that the fetch stage gets for now: it has nothing to wait for.
        flush = before_empty or pool is self._order[0]
        while (batch := pool.next_batch(size, seconds, self._now, flush)) is not None:
            worker, items, solo = batch
            alone = not worker.calls
            call = Call(next(self._call_ids), name, worker.id, items, solo, alone, self._now)
            for item in items:
                item.tries += 1
                image = item.image
                if item.tries > image.attempts.get(name, 0):
                    image.attempts[name] = item.tries
                if image.queued:
                    image.queued -= 1
                    if image.queued == 0:
                        self._stock.held -= 1
            self._calls[call.id] = call
            self.counters.calls[name] += 1
            self.counters.items[name] += len(items)
            pool.sent(worker, call)
            self._actions.append(call)

    def _batch_size(self, pool: StagePool) -> int:
        name, plan = pool.plan.name, pool.plan
        if pool is self._order[0]:
            return min(plan.batch_limit, self._stock.fetch_batch)
        if pool.done == 0:
            return min(plan.first_batch, plan.batch_limit)
        return self.calibration.batch(name, target=self.plan.call_seconds, limit=plan.batch_limit)

    def _passed(self, item: Item, stage: str, passed: Passed, payload: Payload, position: int) -> None:
        image = item.image
        image.facts.append(passed.facts)
        if passed.held_bytes:
            image.permit.correct(passed.held_bytes)
            image.held_bytes = passed.held_bytes
        slot = (payload, position)
        if stage == "fetch":
            payload.uses += 1
            image.photo = slot
            self._enqueue(self._order[1], self._item(image, self._order[1]), _size_class(image))
        elif stage == "detect":
            payload.uses += 1
            image.detection = slot
            image.masks = [None] * passed.fan_out
            image.missing = passed.fan_out
            pool = self.pools["segment"]
            for crop in range(passed.fan_out):
                self._enqueue(pool, self._item(image, pool, crop), _size_class(image))
        elif stage == "segment":
            payload.uses += 1
            image.masks[item.crop] = slot
            image.missing -= 1
            if image.missing == 0:
                pool = self.pools["matte"]
                self._enqueue(pool, self._item(image, pool), _size_class(image))
        elif stage == "store":
            stored = passed.output
            size = (stored.output_width, stored.output_height)
            self.finish(image, Matte(stored.output_key, stored.output_bytes, Facts(), *size))
        else:
            payload.uses += 1
            self._release(image)
            image.cut = slot
            self._enqueue(self.pools["store"], self._item(image, self.pools["store"]), None)

    def _item(self, image: Image, pool: StagePool, crop: int = 0) -> Item:
        return Item(image, crop, image.attempts.get(pool.plan.name, 0))

    def _release(self, image: Image) -> None:
        for slot in image.slots():
            self._let_go(slot[0])
        image.forget_slots()

    def _let_go(self, payload: Payload) -> None:
        payload.uses -= 1
        if payload.uses == 0:
            self.gate.drop(payload.n_bytes)
            self._actions.append(DropPayload(payload.handle))
            payload.handle = None

    # ---- faults ----

    def _start_worker(self, pool: StagePool) -> None:
        worker = Worker(next(self._worker_ids), self._now)
        pool.workers[worker.id] = worker
        self._actions.append(StartWorker(pool.plan.name, worker.id))

    def _lose(self, pool: StagePool, worker: Worker, fault: Fault, message: str) -> None:
        """A worker is gone or must go. The oldest of its calls was running and is blamed; the others are requeued."""
        stage = pool.plan.name
        self.counters.deaths += 1
        pool.losses += 1
        self._actions.append(KillWorker(stage, worker.id))
        calls = list(worker.calls.values())
        for at, call in enumerate(calls):
            self._calls.pop(call.id, None)
            self._gone_wrong(call, fault if at == 0 or fault is Fault.EVICTED else "requeued")
        if pool.losses >= self.plan.losses:
            raise BrokenStageError(
                f"stage {stage}: {pool.losses} workers were lost in a row without one good call: {message}"
            )
        self.counters.retries += len(calls)
        self._carry_out(pool, after_loss(calls, fault, message, self.plan.call_timeout))
        self._start_worker(pool)

    def _gone_wrong(self, call: Call, fault: str) -> None:
        if self._traces is not None:
            for item in call.items:
                if item.image.traced is not None and not item.stale:
                    self._traces.gone_wrong(item, call, fault, self._now)

    def _carry_out(self, pool: StagePool, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Again):
                (pool.suspects if verdict.solo else pool.again).append(verdict.items)
            elif not verdict.item.stale:
                self.finish(verdict.item.image, verdict.failure)

    def _fetch_again(self, image: Image, message: str) -> None:
        image.lost += 1
        if image.lost > self.plan.lost_limit:
            text = f"its data was lost from the object store {image.lost} times: {message}"
            self.finish(image, Failure(Reason.INTERNAL_ERROR, "fetch", text))
            return
        self._release(image)
        image.round += 1
        if image.queued:
            image.queued = 0
            self._stock.held -= 1
        fetch = self._order[0]
        self._enqueue(fetch, self._item(image, fetch), None)


def _size_class(image: Image) -> int:
    """Shape key: images within a factor of two in pixels share batches, so that a call's time and memory are even."""
    return image.held_bytes.bit_length()
