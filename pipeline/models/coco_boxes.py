"""What a COCO detector says, the same for every family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mattemill.kernels.nms import nms
from mattemill.pipeline.photo import Rgb


@dataclass(frozen=True, slots=True)
class CocoBoxes:
    """Boxes of one photograph, best first.

    boxes: float32 (N, 4) xyxy in pixels of the photograph, inside it. scores: float32 (N,) in 0..1.
    classes: int64 (N,), index of the COCO class, 0..79.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]


class CocoDetector(Protocol):
    """A detector family behind its engine."""

    device: str

    def __call__(self, image: Rgb) -> CocoBoxes:
        """One pass over uint8 (H, W, 3) RGB. Raises EngineError when the network fails."""


def keep_best(
    boxes: npt.NDArray[np.float32],
    class_scores: npt.NDArray[np.float32],
    shape: tuple[int, ...],
    *,
    score_threshold: float,
    iou_threshold: float,
) -> CocoBoxes:
    """Each box with its best class, those over the threshold, without their duplicates, cut to the photograph.

    boxes: float32 (N, 4) xyxy in pixels. class_scores: float32 (N, 80). shape: (H, W, ...) of the photograph.
    """
    classes = class_scores.argmax(axis=1).astype(np.int64)
    scores = class_scores.max(axis=1)
    height, width = shape[:2]
    inside = np.stack(
        [
            np.clip(boxes[:, 0], 0, width),
            np.clip(boxes[:, 1], 0, height),
            np.clip(boxes[:, 2], 0, width),
            np.clip(boxes[:, 3], 0, height),
        ],
        axis=1,
    )
    sane = (scores >= score_threshold) & (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    inside, scores, classes = inside[sane], scores[sane], classes[sane]
    best = nms(inside, scores, iou_threshold, classes)
    return CocoBoxes(inside[best], scores[best], classes[best])
