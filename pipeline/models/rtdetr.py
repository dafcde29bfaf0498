"""RT-DETR: a detection transformer of the 80 COCO classes that needs no suppression of duplicates.

Zhao et al., DETRs Beat YOLOs on Real-time Object Detection, CVPR 2024; its second version: Lv et al., RT-DETRv2, arXiv
2407.17140. Input and decoding follow the authors' own post-processing: each query's classes are yes or no on their
own (focal loss), the best of all pairs of query and class are taken, and boxes are fractions of the picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.models.coco_boxes import CocoBoxes
from mattemill.pipeline.photo import Rgb

CLASSES = 80

_SCORE = 0.5  # the authors' demonstration has .6; .5 keeps what a catalogue photograph shows in part
_MOST = 300  # pairs of query and class that are looked at: as many as there are queries


class RtdetrDetector:
    """An RT-DETR network behind its engine. score: 0..1 below which a box is dropped."""

    def __init__(self, card: ModelCard, engine: Engine, *, score: float = _SCORE) -> None:
        self.card = card
        self.device = engine.device
        self._engine = engine
        self._score = score

    def __call__(self, image: Rgb) -> CocoBoxes:
        """Boxes in uint8 (H, W, 3) RGB: stretched to the input with antialiasing, 0..1, not normalised further.

        Raises EngineError when the network fails or its outputs are not an RT-DETR's for COCO.
        """
        contract = self.card.input
        outputs = self._engine.run({contract.name: card_input(image, contract)})
        logits, boxes = (outputs[name] for name in self.card.output.names)
        if logits.shape[-1] != CLASSES or boxes.shape[-1] != 4 or logits.shape[:-1] != boxes.shape[:-1]:
            raise EngineError(
                f"model {self.card.name}: outputs are {logits.shape} and {boxes.shape}, not (1, n, {CLASSES}) and "
                "(1, n, 4): the file is not an RT-DETR for COCO"
            )
        return decode_rtdetr(
            logits.reshape(-1, CLASSES), boxes.reshape(-1, 4), image.shape, score_threshold=self._score
        )


def decode_rtdetr(
    logits: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    shape: tuple[int, ...],
    *,
    score_threshold: float,
    most: int = _MOST,
) -> CocoBoxes:
    """The best pairs of query and class over the threshold, best first; one query may give boxes of two classes.

    logits: float32 (N, C). boxes: float32 (N, 4): centre x, centre y, width, height, in 0..1 of the picture. shape:
    (H, W, ...) of the photograph in pixels. most: how many pairs at most. Boxes are cut to the photograph; those with
    nothing inside it are dropped.
    """
    # A float32 sigmoid that does not overflow.
    scores = (0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32).ravel()
    kept = np.flatnonzero(scores >= score_threshold)
    order = kept[np.argsort(-scores[kept], kind="stable")][:most]
    query, classes = np.divmod(order, logits.shape[1])
    height, width = shape[:2]
    centre, half = boxes[query, :2], boxes[query, 2:] / 2
    size = np.array([width, height], np.float32)
    low = np.clip((centre - half) * size, 0, size)
    high = np.clip((centre + half) * size, 0, size)
    sane = (high > low).all(axis=1)
    found = np.concatenate([low, high], axis=1)[sane].astype(np.float32)
    return CocoBoxes(found, scores[order][sane], classes[sane].astype(np.int64))
