"""Stages for machinery.py: the real fetch, networks of a fixed cost, and a store that writes or does not.

STANDIN_NETWORK_MS: what each network stage computes for an image (0 = the machinery alone).
STANDIN_STORE: 'null' answers at once; 'folder' is the real store stage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.stages.fetch import FetchStage
from mattemill.pipeline.stages.messages import CropMask, Cut, Detection, Stored
from mattemill.pipeline.stages.stage import Done, Stage, StageResult
from mattemill.pipeline.stages.store_stage import StoreStage

SECONDS = float(os.environ.get("STANDIN_NETWORK_MS", "0")) / 1000
STORE = os.environ.get("STANDIN_STORE", "null")
_BOX = (0.0, 0.0, 256.0, 256.0)


def model_hashes(config: JobConfig) -> dict[str, str]:
    """No models."""
    return {"detect": "0" * 64}


def build_stage(name: str, config: JobConfig, sink: str | None) -> Stage:
    """The stage of that name."""
    if name == "fetch":
        return FetchStage(config)
    if name == "store" and STORE == "folder":
        assert sink is not None
        return StoreStage(config, sink)
    return _Standin(name)


class _Standin:
    """Touches every input, so that it crosses the processes as it would."""

    device = "cpu"

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return [self._one(*item) for item in items]

    def _one(self, *item: Any) -> StageResult:
        if self.name == "store":
            return Done(Stored(item[0].key, item[1].pixels.nbytes))
        photo = item[0]
        first = int(photo.data[0])
        _compute(SECONDS)
        if self.name == "detect":
            return Done(Detection((_BOX,), (0.9,), np.zeros((320, 320), np.uint8)), Facts(boxes=(_BOX,)))
        if self.name == "segment":
            return Done(CropMask((0, 0, 256, 256), np.full((320, 320), first, np.uint8)))
        return Done(Cut(np.full((256, 256), first, np.uint8), {"confidence": 0.9}), Facts(scores={"confidence": 0.9}))


def _compute(seconds: float) -> None:
    """Keep a core busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
