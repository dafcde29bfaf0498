"""Cells on Ray: one a node; which nodes there are, calls out and answers back as events."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray import exceptions as ray_errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mattemill.cluster.cells.cell_actor import CellActor, CellPlace
from mattemill.cluster.cells.messages import Orders, Report
from mattemill.cluster.quick_pickle import pack, unpack
from mattemill.cluster.ray_errors import NODE_GONE, PAYLOAD_LOST, cause_of, describe
from mattemill.pipeline.errors import MattemillError

_log = logging.getLogger(__name__)

CELL_CPUS = 0.01
"""CPUs that a cell asks Ray for: hardly any, since it sizes itself by the node's cores, but enough to be seen there."""

_NODE_DIED = "node has died"  # what an ActorDiedError says when its machine is the cause; Ray has no flag for it


class CellFault(StrEnum):
    """What an exchange that failed says of its cell."""

    DIED = "died"  # its process has ended, and so have its workers
    NODE_GONE = "node_gone"  # Ray has given the node up; beyond a cut network it may still work until it is fenced
    SILENT = "silent"  # it may come back
    REPLY_LOST = "reply_lost"  # it lives, its answer is gone: the next one holds all again
    BROKEN = "broken"  # it raised


CELL_DIED: tuple[type[BaseException], ...] = (
    ray_errors.ActorDiedError,
    ray_errors.WorkerCrashedError,
    ray_errors.OutOfMemoryError,
)
"""The process of the cell has ended; unless an ActorDiedError says that its node did."""


def fault_of_cell(error: BaseException) -> CellFault:
    """What a failed call of a cell means. The lists are closed; anything else came out of the cell itself."""
    if isinstance(error, NODE_GONE):
        return CellFault.NODE_GONE
    if isinstance(error, ray_errors.ActorUnavailableError):
        return CellFault.SILENT
    if isinstance(error, CELL_DIED):
        gone = isinstance(error, ray_errors.RayActorError) and (error.preempted or _NODE_DIED in str(error))
        return CellFault.NODE_GONE if gone else CellFault.DIED
    if isinstance(error, PAYLOAD_LOST):
        return CellFault.REPLY_LOST
    return CellFault.BROKEN


@dataclass(frozen=True, slots=True)
class Node:
    """A live Ray node that can hold a cell. store_bytes: of its object store."""

    id: str
    cpus: int
    gpus: int
    store_bytes: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What has happened. Exactly one of host (a cell is ready), report, and fault is set."""

    cell: str
    host: str | None = None
    report: Report | None = None
    fault: CellFault | None = None
    message: str = ""
    fatal: bool = False  # a cell on this node would end the same way again


def nodes_for_cells(on_gpu: bool) -> list[Node]:
    """The live nodes that have a CPU for us (and a GPU, where the networks run on one), in the order of their ids."""
    api: Any = ray
    found = []
    for node in api.nodes():
        has = node.get("Resources", {})
        if node["Alive"] and has.get("CPU", 0) >= 1 and (has.get("GPU", 0) >= 1 or not on_gpu):
            store = int(has.get("object_store_memory", 0))
            found.append(Node(node["NodeID"], int(has["CPU"]), int(has.get("GPU", 0)), store))
    return sorted(found, key=lambda node: node.id)


def draining_nodes() -> set[str]:
    """Ids of nodes that were told to end (spot notices); none when Ray does not say."""
    try:
        from ray._private import state

        api: Any = state.state
        return set(api.get_draining_nodes())
    except Exception as error:  # a private side of Ray
        _log.debug("draining nodes unknown error=%s", error)
        return set()


class Scouts:
    """Demands for whole nodes that wait before Ray: for these an autoscaler adds nodes.

    A cell holds CELL_CPUS of its node, so that a demand for all CPUs of a node only fits on one without a cell. They
    end with the driver; one that finds a node ends at once, and the node is then seen by whoever looks for nodes.
    """

    def __init__(self) -> None:
        api: Any = ray
        self._task: Any = api.remote(_nothing)
        self._waiting: list[Any] = []

    def keep(self, number: int, *, cpus: float = 1, gpus: float = 0) -> None:
        """Have so many demands wait; those too many are taken back. cpus, gpus: of new ones."""
        api: Any = ray
        if self._waiting:
            _, self._waiting = api.wait(self._waiting, num_returns=len(self._waiting), timeout=0)
        while len(self._waiting) > number:
            api.cancel(self._waiting.pop())
        while len(self._waiting) < number:
            self._waiting.append(self._task.options(num_cpus=cpus, num_gpus=gpus, max_retries=0).remote())


def _nothing() -> None:
    """What a scout does on the node that it finds."""


class Crew:
    """The cells that run. `place`: of a cell on a node."""

    def __init__(self, place: Callable[[Node], CellPlace]) -> None:
        self._place = place
        self._events: SimpleQueue[tuple[str, str, Future[Any]] | None] = SimpleQueue()
        self._actors: dict[str, Any] = {}
        self._numbers = count(1)
        self._class: Any = ray.remote(CellActor)
        self._scouts = Scouts()
        self.nodes: dict[str, Node] = {}

    def start(self, node: Node) -> str:
        """Start a cell on a node: its name. `hear` says when it is there."""
        name = f"{node.id[:8]}-{next(self._numbers)}"
        actor = self._class.options(
            num_cpus=CELL_CPUS,
            max_restarts=0,
            max_task_retries=0,
            allow_out_of_order_execution=True,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote()
        self._actors[name] = actor
        self.nodes[name] = node
        self._watch("start", name, actor.start.remote(self._place(node)))
        return name

    def send(self, cell: str, orders: Orders) -> None:
        """Its answer comes out of `hear`."""
        self._watch("report", cell, self._actors[cell].exchange.remote(pack(orders)))

    def wake(self) -> None:
        """Make a waiting `hear` return; from any thread."""
        self._events.put(None)

    def hear(self, timeout: float) -> list[Heard]:
        """What happened, waiting up to `timeout` seconds for the first thing."""
        heard: list[Heard] = []
        try:
            event = self._events.get(timeout=timeout)
            while True:
                if event is not None:
                    heard.append(self._heard(*event))
                event = self._events.get_nowait()
        except Empty:
            return heard

    def ask_for_nodes(self, number: int, cpus: int, gpus: int) -> None:
        """Have an autoscaler asked for so many more nodes with at least so many CPUs and GPUs; 0 takes it back."""
        self._scouts.keep(number, cpus=cpus, gpus=gpus)

    def dismiss(self, cell: str) -> None:
        """End a cell with its workers."""
        actor = self._actors.pop(cell, None)
        self.nodes.pop(cell, None)
        if actor is not None:
            ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """End all cells, and ask for no nodes any more."""
        self._scouts.keep(0)
        for cell in list(self._actors):
            self.dismiss(cell)

    def _heard(self, kind: str, cell: str, future: Future[Any]) -> Heard:
        error = future.exception()
        if error is None:
            if kind == "start":
                return Heard(cell, host=str(future.result()))
            return Heard(cell, report=unpack(future.result()))
        fault = fault_of_cell(error)
        fatal = isinstance(cause_of(error), MattemillError)
        return Heard(cell, fault=fault, message=describe(error), fatal=fatal)

    def _watch(self, kind: str, cell: str, reference: Any) -> None:
        future: Future[Any] = reference.future()
        put = self._events.put
        future.add_done_callback(lambda done: put((kind, cell, done)))


def with_node(config: Any, node: Node) -> Any:
    """The settings on this node: its cores, unless the user says how many."""
    return config if config.cpus else dataclasses.replace(config, cpus=node.cpus)
