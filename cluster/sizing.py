"""How many workers a stage gets, what each of them costs, and how many images a call holds.

Key insight: on CPUs the stages do not own cores, they share them, and the operating system gives the idle time of
one to the next. Once every stage has enough one-thread workers to use the cores that its part of the work needs, the
rate is `cores / (core seconds that one image takes in all stages)`, and nothing that divides the cores otherwise is
faster: the slowest stage can only gain what another stage needs as much. So the answer is not a search. It is the
fewest workers that reach that rate: more of them cost 400 MB each (measured, an ONNX Runtime actor) and gain nothing.

Pure functions; they know nothing of Ray. Workers of network stages use one thread each: a network gains 1.7 times from
two threads and exactly 2 times from two processes (measured, u2netp).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

TARGET_CALL_SECONDS = 0.25
"""Seconds that a call should take: 300 times the 0.75 ms a call costs, and short enough that the end of a job, a
bisected batch or a killed worker waits for little."""

MAX_BATCH = 32
"""Images a call holds at most: beyond 32 an object, moving more of them together gains nothing (measured)."""

SLACK = 0.05
"""Workers are counted for a rate that is 5 % higher: rates from a few images are wrong by that much, and a worker too
few costs speed, while one too many costs memory only."""

_MOST_PER_CORE = 32
"""Workers of a stage that mostly waits, for each core: a bound on processes, reached only by absurd figures."""

_RAY_UNIT = 10_000
"""Ray counts resources in ten-thousandths; shares are rounded down to that, so that their sum stays within."""


@dataclass(frozen=True, slots=True)
class StageSize:
    """What one stage gets.

    workers: processes, at least 1. cpu_share, gpu_share: what each asks Ray for (cores, GPUs; 0..1).
    batch: images (items of this stage) a call, 1..32. rate: images of the source a second that these workers could
    do if the rest of the machine were idle.
    """

    workers: int
    cpu_share: float
    gpu_share: float
    batch: int
    rate: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """Workers of all stages. rate: images of the source a second at the slowest; bottleneck: what holds it there
    ('cpus', 'gpus', or the stage that was allowed too few workers)."""

    stages: Mapping[str, StageSize] = field(default_factory=dict)
    rate: float = 0.0
    bottleneck: str = "cpus"

    @property
    def cpus(self) -> float:
        """Cores that Ray must set aside for all workers."""
        return sum(stage.workers * stage.cpu_share for stage in self.stages.values())

    @property
    def gpus(self) -> float:
        """GPUs that Ray must set aside for all workers."""
        return sum(stage.workers * stage.gpu_share for stage in self.stages.values())

    @property
    def workers(self) -> dict[str, int]:
        """Workers by stage."""
        return {name: stage.workers for name, stage in self.stages.items()}


def batch_size(seconds: float, *, target: float = TARGET_CALL_SECONDS, limit: int = MAX_BATCH) -> int:
    """Items a call: as many as fit into `target` seconds at `seconds` an item, within 1..limit."""
    if seconds <= 0.0:
        return limit
    return max(1, min(limit, int(target / seconds)))


def solve(
    seconds_by_stage: Mapping[str, float],
    fan_out: Mapping[str, float],
    cpus: float,
    gpus: float = 0.0,
    *,
    gpu_stages: Sequence[str] = (),
    busy: Mapping[str, float] | None = None,
    network_stages: Sequence[str] = ("detect", "segment", "matte", "cut"),
    network_workers: int = 0,
    target_call_seconds: float = TARGET_CALL_SECONDS,
    max_batch: Mapping[str, int] | None = None,
    per_gpu: int = 1,
) -> Sizing:
    """Workers, shares and batches that make the slowest stage as fast as it can be.

    seconds_by_stage: seconds one worker spends on one item of a stage, > 0, in the order of the stages.
    fan_out: items of a stage that one image makes, > 0; a stage that is not named has 1.
    cpus, gpus: what may be used, > 0 and >= 0. gpu_stages: those that run on a GPU, if gpus > 0.
    busy: share of a stage's seconds in which it keeps a core busy, 0..1; the rest it waits (for S3, for its GPU).
    Default 1, for a stage on a GPU 0: what it decodes and mattes on cores counts once it was measured.
    network_workers: how many workers the network stages have in all (at least one each); 0 = as many as pay.
    max_batch: items a call of a stage may hold at most; default 32.

    per_gpu: workers of each GPU stage on each GPU; more than one where they work on the CPU between their passes.
    On GPUs all shares are equal, so that they fit onto the GPUs in whatever order Ray places them. Raises ValueError
    when a figure is not positive.
    """
    work = _work(seconds_by_stage, fan_out, cpus, gpus)
    on_gpu = [name for name in work if gpus > 0 and name in gpu_stages]
    on_cpu = [name for name in work if name not in on_gpu]
    if gpus > 1:
        gpus = math.floor(gpus)  # a worker lies on one GPU: what is left over beside whole ones serves nobody
    shares = {**dict.fromkeys(on_cpu, 1.0), **dict.fromkeys(on_gpu, 0.0), **(busy or {})}
    core_seconds = {name: work[name] * min(1.0, max(0.0, shares[name])) for name in work}

    limits: dict[str, float] = {}
    if (total := sum(core_seconds.values())) > 1e-12:  # below that nothing computes, and a rate would be infinite
        limits["cpus"] = cpus / total
    if on_gpu:
        limits["gpus"] = gpus * per_gpu / sum(work[name] for name in on_gpu)
    if not limits:  # stages that only wait: one worker each, as fast as the slowest of them
        slowest = max(work, key=lambda name: work[name])
        limits[slowest] = 1.0 / work[slowest]
    wanted = min(limits.values())

    counts = {name: max(1, int(gpus)) * per_gpu for name in on_gpu}
    for name in on_cpu:
        share = max(1.0 / _MOST_PER_CORE, core_seconds[name] / work[name])
        fills = math.ceil(cpus / share)  # that many of its workers fill every core
        counts[name] = max(1, min(fills, math.ceil(wanted * (1.0 + SLACK) * work[name])))
    fixed = [name for name in on_cpu if name in network_stages]
    if network_workers > 0 and fixed:
        counts.update(_divide(network_workers, {name: work[name] for name in fixed}))
    limits.update({name: counts[name] / work[name] for name in on_cpu})

    bottleneck = min(limits, key=lambda name: limits[name])
    rate = limits[bottleneck]
    gpu_share = _down(gpus / max(1, int(gpus)) / (len(on_gpu) * per_gpu)) if on_gpu else 0.0
    stages = {
        name: StageSize(
            workers=counts[name],
            cpu_share=_down(min(1.0, rate * core_seconds[name] / counts[name])),
            gpu_share=gpu_share if name in on_gpu else 0.0,
            batch=batch_size(
                seconds_by_stage[name], target=target_call_seconds, limit=(max_batch or {}).get(name, MAX_BATCH)
            ),
            rate=counts[name] / work[name],
        )
        for name in work
    }
    return Sizing(stages, rate, bottleneck)


def choose_placement(
    seconds_by_stage: Mapping[str, float], cpus: float, gpus: float = 0.0
) -> Literal["split", "fused"]:
    """What placement='auto' means here: 'fused' on CPUs, 'split' when a GPU does the networks.

    Both divide the same cores, so by the insight above neither has the better limit; but split decodes a photograph
    in each of three processes and moves it between them, which fused does not. Fused loses where one process cannot
    hold all networks, or where the networks need the GPU and the rest does not: then a pool each.
    With fewer cores than network stages, split has more busy processes than cores as well.
    """
    if min(seconds_by_stage.values(), default=0.0) < 0.0 or cpus <= 0 or gpus < 0:
        raise ValueError(f"choose_placement: seconds, cpus and gpus must not be negative ({cpus} cpus, {gpus} gpus)")
    return "split" if gpus > 0 else "fused"


def _work(seconds: Mapping[str, float], fan_out: Mapping[str, float], cpus: float, gpus: float) -> dict[str, float]:
    """Worker seconds an image takes, by stage."""
    if not seconds:
        raise ValueError("solve: no stage was given")
    if not cpus > 0 or not gpus >= 0 or not math.isfinite(cpus + gpus):
        raise ValueError(f"solve: cpus = {cpus} must be above 0 and gpus = {gpus} not below")
    work = {name: value * fan_out.get(name, 1.0) for name, value in seconds.items()}
    for name, value in work.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"solve: stage {name} takes {value} seconds an image; must be above 0 (measure it first)")
    return work


def _divide(workers: int, work: Mapping[str, float]) -> dict[str, int]:
    """Give `workers` to stages, at least one each, always the next to the slowest: the best smallest count / work."""
    counts = dict.fromkeys(work, 1)
    for _ in range(workers - len(counts)):
        counts[min(work, key=lambda name: counts[name] / work[name])] += 1
    return counts


def _down(share: float) -> float:
    """Rounded down to what Ray can count."""
    return math.floor(share * _RAY_UNIT) / _RAY_UNIT
