"""One node of the simulated night: a real coordinator over units of many images, and a worker that takes time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

from mattemill.cluster.actions import FUSED, Call, CellPlan, Passed, Reply, ShardClosed, StagePlan, StartWorker
from mattemill.cluster.coordinator import Coordinator
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.shard import Shard
from mattemill.pipeline.stages.messages import Stored

_FACTS = Facts()
_STORED = Stored("", 0, 1, 1)


class NightNode:
    """A node from its first command to its death, or to the end of the job.

    `pump(now)` carries out what the coordinator says: it starts the cut worker's next unit through `begin` (unit's key
    -> seconds) and hands closed shards to `closed`. Fetch and store answer at once: their time is in the unit's.

    factor: how much slower than the others. joined: seconds. busy: seconds in which it worked. cut_off: whether it
    reaches neither driver nor store. held: shards that it has closed and could not commit.
    """

    __slots__ = (
        "_begin",
        "_closed",
        "_handles",
        "_waiting",
        "alive",
        "busy",
        "coordinator",
        "cut_off",
        "factor",
        "held",
        "joined",
        "number",
        "open",
        "running",
        "started",
    )

    def __init__(
        self,
        number: int,
        now: float,
        factor: float,
        begin: Callable[[NightNode, str], None],
        closed: Callable[[NightNode, Shard], None],
    ) -> None:
        # A unit a call: batches, ages and credits of single images are the detailed run's matter.
        plan = CellPlan(
            stages=tuple(StagePlan(name, 1, batch_limit=1) for name in FUSED), gate_bytes=10**15, call_timeout=86_400.0
        )
        self.number = number
        self.coordinator = Coordinator(plan, now, fetch_batch=1)
        self.factor = factor
        self.joined = now
        self.alive = True
        self.cut_off = False
        self.busy = 0.0
        self.started = 0.0
        self.running: Call | None = None
        self.open: dict[str, int] = {}
        self.held: list[Shard] = []
        self._waiting: deque[Call] = deque()
        self._handles = count(1)
        self._begin = begin
        self._closed = closed

    def offer(self, number: int, shard: Shard) -> None:
        """A lease: shard `number` is this node's to do."""
        self.open[shard.id] = number
        self.coordinator.offer(shard)

    def pump(self) -> None:
        """Do what the coordinator asks for, until it asks for nothing more."""
        coordinator = self.coordinator
        while actions := list(coordinator.actions()):
            for action in actions:
                if isinstance(action, Call):
                    if action.stage == "cut":
                        self._waiting.append(action)
                    else:
                        self._reply(action, 0.0)
                elif isinstance(action, StartWorker):
                    coordinator.worker_ready(action.worker, action.stage, "model")
                elif isinstance(action, ShardClosed):
                    self._closed(self, action.shard)
        if self.running is None and self._waiting:
            self.running = self._waiting.popleft()
            self.started = coordinator._now
            self._begin(self, self.running.items[0].image.ref.key)

    def finish(self, now: float) -> None:
        """The running unit is cut."""
        call, self.running = self.running, None
        if call is None:
            raise RuntimeError(f"node {self.number} finishes a unit that it does not run")
        self.busy += now - self.started
        self.coordinator.at(now)
        self._reply(call, now - self.started)

    @property
    def images_begun(self) -> dict[str, list[str]]:
        """Keys of the units that have ended in each shard that is open still: lost if the node dies."""
        return {shard.id: list(outcomes) for shard, outcomes in self.coordinator.finished_parts()}

    def _reply(self, call: Call, seconds: float) -> None:
        passed = Passed(_FACTS, output=_STORED if call.stage == "store" else None)
        reply = Reply([passed for _ in call.items], seconds, seconds, 0)
        self.coordinator.replied(call.id, reply, next(self._handles))
