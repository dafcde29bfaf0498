"""What goes into the coordinator and what comes out of it: plain data, no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mattemill.cluster.images import Item
from mattemill.pipeline.outcome import Facts, Failure, Outcome
from mattemill.pipeline.shard import Shard


class Fault(StrEnum):
    """How a call can go wrong."""

    RAISED = "raised"  # the stage raised: the batch is bisected
    SICK = "sick"  # the engine failed: the worker is replaced, the batch bisected with care
    DIED = "died"  # the worker process is gone: the batch that ran is a suspect
    EVICTED = "evicted"  # the worker's node is gone or was taken away: nobody's fault
    LOST = "lost"  # an input is no longer in the object store: its images are fetched again
    TIMED_OUT = "timed_out"  # over its deadline: the worker was killed for it


@dataclass(slots=True)
class Passed:
    """One item went through (`Done` without its output, which lies in the call's payload).

    output: only of the last stage, whose output is small.
    """

    facts: Facts
    fan_out: int = 1
    held_bytes: int = 0
    output: Any = None


@dataclass(slots=True)
class Reply:
    """What a worker says of a call: one result per item, in order.

    seconds: wall time of the call in the worker. core_seconds: of these, how long it kept a core busy.
    output_bytes: size of the payload object. worker: 'node:pid'. device: where the stage ran. store_errors: failed
    tries at the object store since the last reply, by kind; None = none.
    """

    results: list[Passed | Failure]
    seconds: float
    core_seconds: float
    output_bytes: int
    worker: str = ""
    device: str = ""
    store_errors: dict[str, int] | None = None


@dataclass(slots=True)
class Call:
    """Run these items on this worker.

    solo: alone on the worker, nothing queued behind: a suspect. alone: the worker was idle when it was sent.
    began: when it became the first in its worker's queue (seconds of the injected clock).
    """

    id: int
    stage: str
    worker: int
    items: list[Item]
    solo: bool
    alone: bool
    began: float


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Make a worker of a stage; `worker_ready` or `worker_failed` answers."""

    stage: str
    worker: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a worker process now; nothing of it is awaited any more."""

    stage: str
    worker: int


@dataclass(frozen=True, slots=True)
class DropPayload:
    """No image needs this payload any more."""

    handle: Any


@dataclass(frozen=True, slots=True)
class ShardClosed:
    """Every image of the shard has its outcome, by key in the order of the shard: commit it."""

    shard: Shard
    outcomes: Mapping[str, Outcome]


Action = Call | StartWorker | KillWorker | DropPayload | ShardClosed


@dataclass(frozen=True, slots=True)
class StagePlan:
    """How one stage of a cell runs.

    workers: processes. batch_limit: items one call may hold. first_batch: items of a call before the seconds an item
    takes are known. max_bytes: decoded bytes of one call.
    """

    name: str
    workers: int
    batch_limit: int = 32
    first_batch: int = 1
    max_bytes: int = 256 * 2**20


SPLIT = ("fetch", "detect", "segment", "matte", "store")
FUSED = ("fetch", "cut", "store")


@dataclass(frozen=True, slots=True)
class CellPlan:
    """How a cell runs: its stages in order, and its limits.

    gate_bytes: decoded bytes admitted at once. store_bytes: payload bytes above which admission stops.
    largest: decoded bytes of the largest image. batch_age, call_timeout: seconds, as in JobConfig.
    window: calls a worker has in flight; the second hides the way there and back.
    call_seconds: how long a call should take: long enough to make its fixed cost (about 1 ms) small, short enough that
    a batch lost with its worker, or the wait behind one, is little.
    start_deaths: start-ups in a row that may fail before the job gives up. losses: worker deaths in a row, without one
    good call of that stage between them, before the job gives up: well above the 7 that one deadly image in a batch of
    32 costs.
    raises: images in a row that may end as internal_error before a stage is taken to be broken.
    lost_limit: how often an image is fetched again because its data was lost.
    """

    stages: tuple[StagePlan, ...]
    gate_bytes: int
    store_bytes: int = 0
    largest: int = 300_000_000
    batch_age: float = 0.2
    call_timeout: float = 120.0
    start_timeout: float = 300.0
    window: int = 2
    call_seconds: float = 0.25
    start_deaths: int = 3
    losses: int = 24
    raises: int = 100
    lost_limit: int = 3

    def __post_init__(self) -> None:
        names = tuple(stage.name for stage in self.stages)
        if names not in (SPLIT, FUSED):
            raise ValueError(f"stages {names}: must be {SPLIT} (split) or {FUSED} (fused)")
        for stage in self.stages:
            if stage.workers < 1 or stage.batch_limit < 1 or stage.first_batch < 1:
                raise ValueError(f"stage {stage.name}: workers and batch sizes must be at least 1, are {stage}")

    @property
    def placement(self) -> str:
        """'split' or 'fused'."""
        return "split" if len(self.stages) == len(SPLIT) else "fused"


@dataclass(slots=True)
class Counters:
    """What a cell has seen; for the summary and the metrics.

    calls, items: sent to workers, by stage. seconds: inside calls that came back, by stage. store_errors: failed tries
    at the object store, by kind.
    """

    deaths: int = 0
    retries: int = 0
    timeouts: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    store_errors: dict[str, int] = field(default_factory=dict)
