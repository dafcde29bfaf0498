"""Pumps events between the coordinator and the Ray actors, in one thread."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mattemill.cluster.actions import Call, CellPlan, DropPayload, KillWorker, Reply, ShardClosed, StartWorker
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.images import Item, item_slots
from mattemill.cluster.quick_pickle import pack, unpack
from mattemill.cluster.ray_errors import NO_PLACE, cause_of, describe, fault_of
from mattemill.cluster.tracing.traces import Traces
from mattemill.cluster.workers import StageWorker, WireItem, module_folder, store_environment
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import MattemillError

_log = logging.getLogger(__name__)

_TICK = 0.25  # seconds between looks at deadlines
_MOST_EVENTS = 256  # handled before the actions that follow from them are carried out

_Event = tuple[str, int, "Future[Any] | None"]


class Cell:
    """The workers of this job with their coordinator.

    closed: shards that are to be committed, filled by `pump`. processes: worker id -> 'node:pid'. node_id: the Ray
    node on which all workers are, None where Ray has one node.
    Every object that a worker returns is owned by this process: a worker's death loses only its own work.
    """

    def __init__(
        self,
        plan: CellPlan,
        config: JobConfig,
        sink: str | None,
        *,
        module: str,
        gpu_shares: Mapping[str, float] | None = None,
        node_id: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        traces = Traces(config.trace_share, time.time() - clock()) if config.trace_share > 0 else None
        self.coordinator = Coordinator(plan, clock(), fetch_batch=config.fetch_batch, traces=traces)
        self.closed: deque[ShardClosed] = deque()
        self.processes: dict[int, str] = {}
        self._config = config
        self._sink = sink
        self._module = module
        self._folder = module_folder(module)
        self._environment = store_environment()
        self._gpu_shares = gpu_shares or {}
        self._placed: dict[str, Any] = {}
        if node_id is not None:
            self._placed["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
        self._clock = clock
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._actors: dict[int, Any] = {}
        self._stages: dict[int, str] = {}
        self._outputs: dict[int, Any] = {}
        self._ticked = clock()
        self._actor_class: Any = ray.remote(StageWorker)

    def wake(self) -> None:
        """Make a waiting `pump` return; from any thread."""
        self._events.put(("wake", 0, None))

    def pump(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for events, handle them, and do what follows.

        Raises BrokenStageError when a stage cannot work here, FinishedTwiceError on a bug.
        """
        self._act()
        now = self._clock()
        close = self.coordinator.next_wake()
        if close is not None and close > now:
            timeout = min(timeout, close - now)
        timeout = max(0.001, min(timeout, self._ticked + _TICK - now))
        try:
            self._handle(self._events.get(timeout=timeout))
            for _ in range(_MOST_EVENTS):
                self._handle(self._events.get_nowait())
        except Empty:
            pass
        now = self._clock()
        self.coordinator.at(now)
        if now - self._ticked >= _TICK:
            self._ticked = now
            self.coordinator.tick(now)
        self._act()

    def close(self) -> None:
        """Kill all workers and let go of all objects."""
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        self._actors.clear()
        self._outputs.clear()

    def _handle(self, event: _Event) -> None:
        kind, number, future = event
        self.coordinator.at(self._clock())
        if future is None:
            return
        error = future.exception()
        if kind == "started":
            stage = self._stages[number]
            if error is None:
                who, device = future.result()
                self.processes[number] = who
                _log.info("worker ready stage=%s worker=%s device=%s", stage, who, device)
                self.coordinator.worker_ready(number, stage, device)
            else:
                _log.warning("worker not started stage=%s error=%s", stage, describe(error))
                fatal = isinstance(cause_of(error), MattemillError) or isinstance(error, NO_PLACE)
                self.coordinator.worker_failed(number, stage, describe(error), fatal=fatal)
            return
        handle = self._outputs.pop(number, None)
        if error is None:
            reply: Reply = unpack(future.result())
            self.coordinator.replied(number, reply, handle)
            return
        fault = fault_of(error)
        _log.warning("call failed fault=%s error=%s", fault, describe(error))
        self.coordinator.call_failed(number, fault, describe(error))

    def _act(self) -> None:
        for action in self.coordinator.actions():
            if isinstance(action, Call):
                self._send(action)
            elif isinstance(action, DropPayload):
                pass  # the action held the last reference
            elif isinstance(action, ShardClosed):
                self.closed.append(action)
            elif isinstance(action, StartWorker):
                self._start(action)
            elif isinstance(action, KillWorker):
                self.processes.pop(action.worker, None)
                actor = self._actors.pop(action.worker, None)
                if actor is not None:
                    ray.kill(actor, no_restart=True)

    def _start(self, action: StartWorker) -> None:
        # Out of order: an ordered actor waits 30 s and more for a call whose sender's node has died.
        actor = self._actor_class.options(
            num_cpus=0,
            num_gpus=self._gpu_shares.get(action.stage, 0.0),
            max_restarts=0,
            max_task_retries=0,
            allow_out_of_order_execution=True,
            **self._placed,
        ).remote()
        self._actors[action.worker] = actor
        self._stages[action.worker] = action.stage
        started = actor.start.remote(
            self._module, self._folder, action.stage, self._config, self._sink, self._environment
        )
        self._watch("started", action.worker, started)

    def _send(self, call: Call) -> None:
        actor = self._actors.get(call.worker)
        if actor is None:
            raise RuntimeError(f"call {call.id} is for worker {call.worker}, which is gone")
        items, handles = wire(call.stage, call.items)
        small, large = actor.call.options(num_returns=2).remote(pack(items), *handles)
        self._outputs[call.id] = large
        self._watch("call", call.id, small)

    def _watch(self, kind: str, number: int, reference: Any) -> None:
        future: Future[Any] = reference.future()
        put = self._events.put
        future.add_done_callback(lambda done: put((kind, number, done)))


def wire(stage: str, items: list[Item]) -> tuple[list[WireItem], list[Any]]:
    """The items as the worker takes them, and the handles of the payloads that they lie in, each once."""
    index: dict[int, int] = {}
    handles: list[Any] = []

    def place(slot: Any) -> tuple[int, int]:
        payload, position = slot
        at = index.get(id(payload))
        if at is None:
            at = index[id(payload)] = len(handles)
            handles.append(payload.handle)
        return at, position

    wired: list[WireItem] = []
    for item in items:
        arguments = []
        for argument in item_slots(stage, item):
            if type(argument) is tuple:
                argument = place(argument)
            elif type(argument) is list:
                argument = [place(slot) for slot in argument]
            arguments.append(argument)
        wired.append(tuple(arguments))
    return wired, handles
