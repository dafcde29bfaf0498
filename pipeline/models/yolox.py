"""YOLOX: an anchor-free detector of the 80 COCO classes.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430; the decoding follows its demo/ONNXRuntime.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.kernels.letterbox import letterbox
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.coco_boxes import CocoBoxes, keep_best
from mattemill.pipeline.photo import Rgb

_STRIDES = (8, 16, 32)
_FILL = 114
_LARGEST_LOG = 20.0  # exp of more would overflow float32 on a network that is not YOLOX
_SCORE, _IOU = 0.3, 0.45


class YoloxDetector:
    """A YOLOX network behind its engine. score: 0..1 below which a box is dropped; iou: of the NMS."""

    def __init__(self, card: ModelCard, engine: Engine, *, score: float = _SCORE, iou: float = _IOU) -> None:
        self.card = card
        self.device = engine.device
        self._engine = engine
        self._score, self._iou = score, iou
        self._grid, self._stride = _grid(card.input.size)

    def __call__(self, image: Rgb) -> CocoBoxes:
        """Boxes in uint8 (H, W, 3) RGB: letterboxed top left on grey, BGR, 0..255 as they are."""
        boxed, scale, (dx, dy) = letterbox(image, self.card.input.size, _FILL, align="corner")
        tensor = np.ascontiguousarray(boxed[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        output = self._engine.run({self.card.input.name: tensor})[self.card.output.names[0]]
        rows = output.reshape(-1, output.shape[-1])
        if rows.shape != (len(self._grid), 85):
            raise EngineError(
                f"model {self.card.name}: output is {output.shape}, not (1, {len(self._grid)}, 85): "
                "the file is not a YOLOX for COCO at this size"
            )
        boxes = decode_yolox(rows[:, :4], self._grid, self._stride)
        boxes = (boxes - np.array([dx, dy, dx, dy], np.float32)) / np.float32(scale)
        scores = rows[:, 4:5] * rows[:, 5:]
        return keep_best(boxes, scores, image.shape, score_threshold=self._score, iou_threshold=self._iou)


def decode_yolox(
    raw: npt.NDArray[np.float32], grid: npt.NDArray[np.float32], stride: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Boxes float32 (N, 4) xyxy in pixels of the network's input.

    raw: float32 (N, 4): centre in cells relative to the cell, log of the size in cells. grid: (N, 2) cells (x, y).
    stride: (N, 1) pixels a cell.
    """
    centre = (raw[:, :2] + grid) * stride
    half = np.exp(np.minimum(raw[:, 2:], _LARGEST_LOG)) * stride / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _grid(size: tuple[int, int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cells (x, y) and strides of every output row, stride by stride, row by row."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.mgrid[0:rows, 0:columns]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
