"""A peer: the same stage functions as a Ray Data `map_batches` pipeline.

    python benchmarks/ray_data_loop.py FOLDER OUT [--placement split|fused] [--output matte|cutout]

Actors with concurrency 2 for the stages that hold a network, so that both cores have one; with `fused` one pool holds
detect, segment and matte. Batches of one, because Ray Data hands a batch on when all of it is done, and a call costs it
milliseconds beside a second of network. Rows that fail are dropped: there is no place for them.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
import ray

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.sources.open import open_source
from mattemill.pipeline.stages.build import build_stage
from mattemill.pipeline.stages.stage import Done

Batch = dict[str, Any]
"""Columns of objects: `ref`, and what the stages have added."""


class Step:
    """One of our stages as a Ray Data class: reads columns `takes`, adds column `gives`."""

    def __init__(self, name: str, takes: tuple[str, ...], gives: str, config: JobConfig, sink: str | None) -> None:
        self._takes = takes
        self._gives = gives
        self._stage = build_stage(name, config, sink)

    def __call__(self, batch: Batch) -> Batch:
        """One batch through the stage."""
        rows = list(zip(*(batch[column] for column in self._takes), strict=True))
        results = self._stage(rows)
        made = {index: result.output for index, result in enumerate(results) if isinstance(result, Done)}
        out = {column: _column([values[index] for index in made]) for column, values in batch.items()}
        out[self._gives] = _column(list(made.values()))
        return out


class SegmentStep:
    """Segment as a Ray Data class: the crops of a photograph in one call, so that no join is needed after it."""

    def __init__(self, config: JobConfig) -> None:
        self._stage = build_stage("segment", config, None)

    def __call__(self, batch: Batch) -> Batch:
        """One batch of photographs with their detections."""
        masks = []
        for photo, detection in zip(batch["photo"], batch["detection"], strict=True):
            crops = range(len(detection.boxes))
            results = self._stage([(photo, detection, crop) for crop in crops])
            masks.append([result.output for result in results if isinstance(result, Done)])
        return {**batch, "masks": _column(masks)}


def _column(values: list[Any]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def main() -> None:
    """Cut a folder into another."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder")
    options.add_argument("out")
    options.add_argument("--placement", default="fused", choices=("fused", "split"))
    options.add_argument("--output", default="matte")
    arguments = options.parse_args()
    config = JobConfig(output=arguments.output, device="cpu", confidence_threshold=0.0)
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    refs = list(open_source(arguments.folder, config).list())

    def step(name: str, takes: tuple[str, ...], gives: str, share: float, actors: int) -> dict[str, Any]:
        return {
            "fn": Step,
            "fn_constructor_args": (name, takes, gives, config, arguments.out),
            "concurrency": actors,
            "num_cpus": share,
            "batch_size": 1,
            "batch_format": "numpy",
        }

    data: ray.data.Dataset = ray.data.from_items([{"ref": ref} for ref in refs], override_num_blocks=len(refs))
    data = data.map_batches(**step("fetch", ("ref",), "photo", 0.05, 1))
    if arguments.placement == "fused":
        data = data.map_batches(**step("cut", ("photo",), "cut", 0.9, cores))
    else:
        data = data.map_batches(**step("detect", ("photo",), "detection", 0.4, cores))
        data = data.map_batches(
            SegmentStep,
            fn_constructor_args=(config,),
            concurrency=cores,
            num_cpus=0.4,
            batch_size=1,
            batch_format="numpy",
        )
        data = data.map_batches(**step("matte", ("photo", "detection", "masks"), "cut", 0.1, cores))
    data = data.map_batches(**step("store", ("ref", "cut"), "stored", 0.05, 1))
    done = sum(len(batch["stored"]) for batch in data.select_columns(["stored"]).iter_batches(batch_format="numpy"))
    ray.shutdown()
    if done != len(refs):
        raise SystemExit(f"{len(refs) - done} of {len(refs)} photographs were lost")


if __name__ == "__main__":
    main()
