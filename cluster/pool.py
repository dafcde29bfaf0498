"""One stage of a cell: its workers, what waits for them, and which worker takes what next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from math import ceil

from mattemill.cluster.actions import Call, StagePlan
from mattemill.cluster.batcher import Batcher
from mattemill.cluster.images import Item

_WORTH_SHARING = 0.02
"""Seconds of work below which a batch is not divided among idle workers: some 20 times what a call costs."""


class Worker:
    """A worker process as the coordinator sees it. calls: in flight, the oldest first."""

    __slots__ = ("calls", "id", "ready", "since")

    def __init__(self, worker_id: int, since: float) -> None:
        self.id = worker_id
        self.ready = False
        self.since = since
        self.calls: dict[int, Call] = {}


class StagePool:
    """Every operation is O(1) in the number of workers and of waiting items.

    queue: items that wait for a batch. again: batches that are sent as they are (bisected, or requeued from a dead
    worker). suspects: batches that may kill their worker: they run alone on an idle worker, with nothing queued behind.
    """

    __slots__ = (
        "_idle",
        "_room",
        "again",
        "busy_items",
        "done",
        "losses",
        "plan",
        "queue",
        "raises",
        "start_deaths",
        "suspects",
        "target",
        "window",
        "workers",
    )

    def __init__(self, plan: StagePlan, window: int, batch_age: float) -> None:
        self.plan = plan
        self.window = window
        self.target = plan.workers
        self.queue: Batcher[Item] = Batcher(batch_age, plan.max_bytes)
        self.again: deque[list[Item]] = deque()
        self.suspects: deque[list[Item]] = deque()
        self.workers: dict[int, Worker] = {}
        self._idle: dict[int, Worker] = {}  # ready, nothing in flight
        self._room: dict[int, Worker] = {}  # ready, something in flight, and its window not full
        self.busy_items = 0
        self.done = 0
        self.start_deaths = 0
        self.losses = 0
        self.raises = 0

    @property
    def waiting(self) -> int:
        """Items that wait for a worker."""
        return len(self.queue) + sum(map(len, self.again)) + sum(map(len, self.suspects))

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not (self.queue or self.again or self.suspects or self.busy_items)

    @property
    def up(self) -> int:
        """Workers that are ready."""
        return sum(worker.ready for worker in self.workers.values())

    def ready(self, worker: Worker) -> None:
        """The worker has started: it may take calls."""
        worker.ready = True
        self.start_deaths = 0
        self._idle[worker.id] = worker

    def remove(self, worker_id: int) -> Worker | None:
        """Forget a worker; the caller takes care of its calls."""
        worker = self.workers.pop(worker_id, None)
        if worker is not None:
            self._idle.pop(worker_id, None)
            self._room.pop(worker_id, None)
            self.busy_items -= sum(len(call.items) for call in worker.calls.values())
        return worker

    def surplus(self) -> Worker | None:
        """An idle worker above the target number, taken out of the pool; None when there is none."""
        if len(self.workers) > self.target and self._idle:
            worker = self._idle.popitem()[1]
            del self.workers[worker.id]
            return worker
        return None

    def put(self, item: Item, key: Hashable, n_bytes: int, now: float) -> None:
        """An item waits for this stage."""
        self.queue.put(item, key, n_bytes, now)

    def next_batch(self, size: int, seconds: float, now: float, flush: bool) -> tuple[Worker, list[Item], bool] | None:
        """A worker that can take a call now and the items for it; None when there is neither.

        size: items a call. seconds: an item takes. flush: nothing more can come from the stages before, so that waiting
        for a fuller batch is in vain. The third value says whether the batch is a suspect.
        """
        while self.suspects and self._idle:
            items = [item for item in self.suspects.popleft() if not item.stale]
            if items:
                return self._idle.popitem()[1], items, True
        if self.suspects:
            return None  # let a worker run empty for it
        if not self._idle and not self._room:
            return None
        if not self._idle and flush and seconds * size > _WORTH_SHARING:
            return None  # the last calls go to whoever is free first, not behind one that runs
        while self.again:
            items = [item for item in self.again.popleft() if not item.stale]
            if items:
                return self._any(), items, False
        while self.queue:
            idle = len(self._idle)
            if flush and idle > 1:
                worth = ceil(_WORTH_SHARING / seconds) if seconds > 0 else size
                size = min(size, max(worth, ceil(len(self.queue) / idle), 1))
            taken = self.queue.take(size, now, flush=flush and idle > 0)
            if not taken:
                return None
            items = [item for item in taken if not item.stale]
            if items:
                return self._any(), items, False
        return None

    def sent(self, worker: Worker, call: Call) -> None:
        """The call is on its way to the worker (which `next_batch` has taken out of the idle ones)."""
        worker.calls[call.id] = call
        self.busy_items += len(call.items)
        if not call.solo and len(worker.calls) < self.window:
            self._room[worker.id] = worker

    def ended(self, call: Call, now: float) -> None:
        """The call is back, well or not, and its worker lives."""
        worker = self.workers.get(call.worker)
        if worker is None or worker.calls.pop(call.id, None) is None:
            return
        self.busy_items -= len(call.items)
        if worker.calls:
            next(iter(worker.calls.values())).began = now
            self._room[worker.id] = worker
        else:
            self._room.pop(worker.id, None)
            self._idle[worker.id] = worker

    def forgive(self, seconds: float, now: float) -> None:
        """Do not count the last `seconds` before `now` against the workers that start and the calls that run."""
        for worker in self.workers.values():
            worker.since = min(now, worker.since + seconds)
            for call in worker.calls.values():
                call.began = min(now, call.began + seconds)  # some began after the pause

    def overdue(self, now: float, call_timeout: float, seconds: float) -> list[Call]:
        """The running calls that are over their deadline, at most one a worker.

        `call_timeout` is what one image alone may take. Of a batch usually one image hangs and the others take the
        measured `seconds`, so it gets that once, plus ten times what the others should need; never more than
        `call_timeout` for each. Who is innocent is found out by the halves.
        """
        late = []
        for worker in self.workers.values():
            call = next(iter(worker.calls.values()), None)
            if call is not None:
                others = len(call.items) - 1
                if now - call.began > call_timeout + others * min(call_timeout, 10 * seconds):
                    late.append(call)
        return late

    def drop_waiting(self, drop: Callable[[Item], None]) -> None:
        """Empty the queues, handing every item to `drop`."""
        for batch in (*self.again, *self.suspects):
            for item in batch:
                drop(item)
        self.again.clear()
        self.suspects.clear()
        while self.queue:
            for item in self.queue.take(len(self.queue), 0.0, flush=True):
                drop(item)

    def _any(self) -> Worker:
        """An idle worker, else one with room; taken out of both."""
        return (self._idle or self._room).popitem()[1]
