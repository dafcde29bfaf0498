"""Cheap stages for tests of the machinery: real files in, real files out, no network.

The name of a photograph says what happens to it: 'kill-cut-7.jpg' kills its worker in stage cut, 'raise-store-..'
raises there, 'fail-detect-..' ends as no_subject, 'hang-matte-..' sleeps, 'slow-cut-..' is slow, 'sick-..' raises
EngineError, and 'crops3-..' has three subjects.
Passed to a job as `stages='standin_stages'`, which workers import. With detector_model = 'real ends', fetch and store
are the real ones and only the networks between them are stand-ins.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import EngineError, ModelError
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import Header, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.fetch import FetchStage
from mattemill.pipeline.stages.messages import CropMask, Cut, Detection, Stored
from mattemill.pipeline.stages.stage import Done, Failed, Stage, StageResult
from mattemill.pipeline.stages.store_stage import StoreStage

SECONDS = float(os.environ.get("STANDIN_SECONDS", "0"))  # an item of every stage
SLOW_SECONDS = 0.01


def model_hashes(config: JobConfig) -> dict[str, str]:
    """No models."""
    return {"detect": "0" * 64}


def build_stage(name: str, config: JobConfig, sink: str | None) -> Stage:
    """A stand-in of any name."""
    if config.detector_model == "broken":
        raise ModelError("model u2netp: not fetched; run `mattemill models fetch u2netp`")
    if config.detector_model == "dies":
        os.abort()
    if config.detector_model == "flaky":
        raise RuntimeError("no luck today")
    if config.detector_model == "real ends" and name == "fetch":
        return FetchStage(config)
    if config.detector_model == "real ends" and name == "store":
        assert sink is not None
        return StoreStage(config, sink)
    return _Standin(name, sink)


class _Standin:
    device = "cpu"

    def __init__(self, name: str, sink: str | None) -> None:
        self.name = name
        self._sink = Path(sink.removeprefix("file://")) if sink else None

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return [self._one(item) for item in items]

    def _one(self, item: tuple[Any, ...]) -> StageResult:
        key = item[0].key if self.name in ("fetch", "store") else item[0].ref.key
        if SECONDS:
            time.sleep(SECONDS)
        words = Path(key).stem.split("-")
        if len(words) > 1 and words[1] == self.name:
            if words[0] == "kill":
                ctypes.string_at(0)
            elif words[0] == "raise":
                raise ValueError(f"{key} is not to my taste")
            elif words[0] == "fail":
                return Failed(Failure(Reason.NO_SUBJECT, self.name, "nothing there", b"preview" * 1000))
            elif words[0] == "hang":
                time.sleep(3600)
            elif words[0] == "slow":
                time.sleep(SLOW_SECONDS)
            elif words[0] == "sick":
                raise EngineError(f"{key}: output is not finite")
        return getattr(self, "_" + self.name)(key, *item)

    def _fetch(self, key: str, ref: Any) -> StageResult:
        data = np.fromfile(unquote(urlparse(ref.uri).path), dtype=np.uint8)
        header = Header("jpeg", 1000, 500, "RGB", 8)
        return Done(
            Photo(ref, header, data), Facts(width=1000, height=500, encoded_bytes=data.size), held_bytes=1_500_000
        )

    def _detect(self, key: str, photo: Photo) -> StageResult:
        crops = int(key.split("/")[-1][5]) if "crops" in key else 1
        boxes = ((0.0, 0.0, 10.0, 10.0),) * crops
        return Done(Detection(boxes, (0.9,) * crops, np.zeros((32, 32), np.uint8)), Facts(boxes=boxes), fan_out=crops)

    def _segment(self, key: str, photo: Photo, detection: Detection, crop: int) -> StageResult:
        return Done(CropMask((0, 0, 10, 10), np.full((32, 32), crop, np.uint8)))

    def _matte(self, key: str, photo: Photo, detection: Detection, masks: list[CropMask]) -> StageResult:
        assert [int(mask.mask[0, 0]) for mask in masks] == list(range(len(detection.boxes)))
        return Done(Cut(np.full((50, 100), photo.data[0], np.uint8), {"subjects": float(len(masks))}))

    def _cut(self, key: str, photo: Photo) -> StageResult:
        return Done(Cut(np.full((50, 100), photo.data[0], np.uint8)))

    def _store(self, key: str, ref: Any, cut: Cut) -> StageResult:
        out = f"{key}.png"
        if self._sink is not None:
            path = self._sink / out
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cut.pixels.tobytes())
        return Done(Stored(out, cut.pixels.nbytes))
