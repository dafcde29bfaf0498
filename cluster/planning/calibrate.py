"""A short calibration without a job: each stage is run here, in this process, on one core, and timed.

The stages are the real ones, `fetch` and `store` with their store and `cut` with its networks, so the figures are what
one worker does. What a whole job adds (the driver, Ray, cores that wait) is not in them: it is taken from the rates
that are given as the base.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from mattemill.cluster.actions import FUSED
from mattemill.cluster.planning.rates import OutputRates, Rates, StageRate
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import place_of, settled
from mattemill.pipeline.errors import SourceError
from mattemill.pipeline.sources.open import open_source
from mattemill.pipeline.stages.build import build_stage
from mattemill.pipeline.stages.stage import Done


@dataclass(frozen=True, slots=True)
class Measured:
    """Photographs of about one size through the three stages. All figures are means over the images.

    seconds, core_seconds: of one worker, by stage. spread: standard deviation of the cut's core seconds over their
    mean. gpu: whether `cut` used one. outputs: images that were written, of `images`.
    """

    images: int
    outputs: int
    megapixels: float
    input_bytes: float
    output_bytes: float
    seconds: dict[str, float]
    core_seconds: dict[str, float]
    spread: float
    gpu: bool
    output: str


def measure(source: str, sink: str, config: JobConfig, limit: int) -> Measured:
    """Cut up to `limit` photographs of a source into a sink, stage by stage, one after the other.

    Writes the outputs and no outcome rows: give a sink of its own. Raises SourceError when there is none to cut, and
    what a job raises.
    """
    import cv2

    cv2.setNumThreads(1)
    config = settled(config, place_of(config))
    refs = list(islice(open_source(source, config).list(), limit))
    if not refs:
        raise SourceError(f"{source}: has no photographs to calibrate with")
    stages = {name: build_stage(name, config, sink) for name in FUSED}
    seconds, core_seconds = dict.fromkeys(FUSED, 0.0), dict.fromkeys(FUSED, 0.0)

    def timed(name: str, items: list[tuple[Any, ...]]) -> list[Any]:
        began, began_core = time.perf_counter(), time.process_time()
        results = list(stages[name](items))
        seconds[name] += time.perf_counter() - began
        core_seconds[name] += time.process_time() - began_core
        return results

    photos = [(ref, result) for ref, result in zip(refs, timed("fetch", [(ref,) for ref in refs]), strict=True)]
    photos = [(ref, result.output) for ref, result in photos if isinstance(result, Done)]
    if not photos:
        raise SourceError(f"{source}: none of its first {len(refs)} photographs can be read")
    timed("cut", [(photos[0][1],)])  # cold caches, first allocations
    seconds["cut"] = core_seconds["cut"] = 0.0
    each, cuts = [], []
    for ref, photo in photos:
        before = core_seconds["cut"]
        (result,) = timed("cut", [(photo,)])
        each.append(core_seconds["cut"] - before)
        if isinstance(result, Done):
            cuts.append((ref, result.output))
    stored = [result.output for result in timed("store", list(cuts)) if isinstance(result, Done)] if cuts else []
    mean = sum(each) / len(each)
    return Measured(
        images=len(photos),
        outputs=len(stored),
        megapixels=sum(photo.header.width * photo.header.height for _, photo in photos) / len(photos) / 1e6,
        input_bytes=sum(len(photo.data) for _, photo in photos) / len(photos),
        output_bytes=sum(result.output_bytes for result in stored) / max(1, len(stored)),
        seconds={name: value / len(photos) for name, value in seconds.items()},
        core_seconds={name: value / len(photos) for name, value in core_seconds.items()},
        spread=math.sqrt(sum((value - mean) ** 2 for value in each) / len(each)) / mean if mean > 0 else 0.0,
        gpu=not stages["cut"].device.startswith("cpu"),
        output=config.output,
    )


def rates_of(measured: Sequence[Measured], base: Rates, source: str, command: str) -> Rates:
    """Rates from measurements of one output at one or more sizes; what they lack is the base's.

    With two sizes the seconds are a line through the smallest and the largest. With one, the line of the base is kept
    and scaled to what was measured.
    """
    by_size = sorted(measured, key=lambda one: one.megapixels)
    small, large = by_size[0], by_size[-1]
    known = base.outputs.get(small.output)
    stages = {}
    for name in FUSED:
        was = known.stages.get(name) if known is not None else None
        stages[name] = _stage_of(name, small, large, was)
    images = sum(one.images for one in by_size)
    output = OutputRates(sum(one.output_bytes / one.megapixels for one in by_size) / len(by_size), stages)
    return replace(
        base,
        source=source,
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=f"{_cpu()}, one core{' and a GPU' if small.gpu else ''}, {images} photographs",
        measured_mp=(round(small.megapixels, 3), round(large.megapixels, 3)),
        input_bytes_per_mp=sum(one.input_bytes / one.megapixels for one in by_size) / len(by_size),
        spread=round(large.spread, 4),
        outputs={small.output: output},
    )


def _stage_of(name: str, small: Measured, large: Measured, was: StageRate | None) -> StageRate:
    gpu = small.gpu and name == "cut"

    def taken(one: Measured) -> float:
        # A network on a CPU never waits: what it does not compute, it waits for a core that others use.
        return one.core_seconds[name] if name == "cut" and not gpu else one.seconds[name]

    busy = 1.0 if name == "cut" and not gpu else min(1.0, large.core_seconds[name] / max(large.seconds[name], 1e-9))
    low, high = max(taken(small), 1e-6), max(taken(large), 1e-6)
    if large.megapixels > 1.2 * small.megapixels:
        slope = max(0.0, (high - low) / (large.megapixels - small.megapixels))
        fixed = max(0.0, high - slope * large.megapixels)
    elif was is not None and not gpu:
        factor = high / was.at(large.megapixels)
        fixed, slope = was.seconds * factor, was.seconds_per_mp * factor
    else:
        fixed, slope = high, 0.0
    return StageRate(round(fixed, 6), round(slope, 6), round(busy, 4), gpu)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores)"
