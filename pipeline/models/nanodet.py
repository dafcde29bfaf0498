"""NanoDet: a small anchor-free detector of the 80 COCO classes, its box sides given as distributions.

RangiLyu, NanoDet, 2020; the sides after Li et al., Generalized Focal Loss, NeurIPS 2020 (equation 6).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.models.coco_boxes import CocoBoxes, keep_best
from mattemill.pipeline.photo import Rgb

_STRIDES = (8, 16, 32)
_BINS = 8
_SCORE, _IOU = 0.3, 0.5


class NanodetDetector:
    """A NanoDet network behind its engine. score: 0..1 below which a box is dropped; iou: of the NMS."""

    def __init__(self, card: ModelCard, engine: Engine, *, score: float = _SCORE, iou: float = _IOU) -> None:
        self.card = card
        self.device = engine.device
        self._engine = engine
        self._score, self._iou = score, iou

    def __call__(self, image: Rgb) -> CocoBoxes:
        """Boxes in uint8 (H, W, 3) RGB: stretched to the input, BGR, normalised by the COCO statistics."""
        contract = self.card.input
        tensor = card_input(image, contract)
        outputs = self._engine.run({contract.name: tensor})
        boxes, scores = [], []
        for stride, of_class, of_sides in zip(
            _STRIDES, self.card.output.names[0::2], self.card.output.names[1::2], strict=True
        ):
            sides = outputs[of_sides].reshape(-1, 4 * _BINS)
            rows, columns = contract.size[0] // stride, contract.size[1] // stride
            if len(sides) != rows * columns:
                raise EngineError(
                    f"model {self.card.name}: output {of_sides} has {len(sides)} rows, not {rows * columns}: "
                    "the file is not a NanoDet at this size"
                )
            boxes.append(decode_nanodet(sides, (rows, columns), stride))
            scores.append(outputs[of_class].reshape(rows * columns, -1))
        scale = np.array([image.shape[1] / contract.size[1], image.shape[0] / contract.size[0]] * 2, np.float32)
        return keep_best(
            np.concatenate(boxes) * scale,
            np.concatenate(scores),
            image.shape,
            score_threshold=self._score,
            iou_threshold=self._iou,
        )


def decode_nanodet(sides: npt.NDArray[np.float32], cells: tuple[int, int], stride: int) -> npt.NDArray[np.float32]:
    """Boxes float32 (N, 4) xyxy in pixels of the network's input.

    sides: float32 (N, 32) logits of left, top, right, bottom, 8 bins each; a side's length is the mean of its bins
    0..7 under their softmax, in cells, from the centre of the cell. cells: (rows, columns), rows first; N is their
    product.
    """
    logits = sides.reshape(-1, 4, _BINS)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    lengths = (weights @ np.arange(_BINS, dtype=np.float32)) * np.float32(stride)
    y, x = np.mgrid[0 : cells[0], 0 : cells[1]]
    centre_x = (x.ravel() + 0.5) * stride
    centre_y = (y.ravel() + 0.5) * stride
    return np.stack(
        [
            centre_x - lengths[:, 0],
            centre_y - lengths[:, 1],
            centre_x + lengths[:, 2],
            centre_y + lengths[:, 3],
        ],
        axis=1,
    ).astype(np.float32)
