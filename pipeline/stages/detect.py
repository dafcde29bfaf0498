"""The detect stage: where the subject is, as boxes, from the saliency of the full frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.components import components
from mattemill.kernels.parts import rank_parts
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import CPU, Place, place_of
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.models.coco_boxes import CocoDetector
from mattemill.pipeline.models.load import load_detector, load_localiser
from mattemill.pipeline.models.saliency import SaliencyMap, SaliencyNetwork
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Photo, Rgb
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.asks import Ask, Asking, answered
from mattemill.pipeline.stages.each import RefusedError, Steps
from mattemill.pipeline.stages.messages import Box, Detection
from mattemill.pipeline.stages.stage import Done, StageResult
from mattemill.pipeline.stages.together import Room, run_together

PART_LEVEL = 0.3  # of the normalised map: what belongs to a part; lower than 0.5, as a limb cut off is lost for good
_SUBSTANTIAL = 0.05  # share of the mass of all parts: a shoe of a pair has half, a handle a tenth, dust less
_LEAST_AREA = 1e-3  # share of the frame at or above the raw threshold; under it there is nothing to cut out
_COCO_HOLDS = 0.6  # share of a part's saliency that a COCO box must hold to be believed


@dataclass(frozen=True, slots=True)
class Found:
    """The subjects of a photograph and the figures of how clear they were (for `Facts.scores`)."""

    detection: Detection
    scores: dict[str, float]


class SubjectFinder:
    """Saliency on the full frame, its parts as boxes; with a COCO detector, its boxes where saliency agrees.

    subjects: 'main' puts one box around the parts that are the main subject (a pair of shoes); 'all' gives each
    substantial part a box. threshold: 0..1, raw saliency below which nothing counts as a subject. main_share: 0..1 of
    the first part's rank, from which another part belongs to the main subject; see `kernels.parts`.
    """

    def __init__(
        self,
        network: SaliencyNetwork,
        coco: CocoDetector | None,
        *,
        subjects: str,
        threshold: float,
        main_share: float = 0.4,
    ) -> None:
        self._network = network
        self._coco = coco
        self._subjects = subjects
        self._threshold = threshold
        self._main_share = main_share

    def __call__(self, image: Rgb) -> Found:
        """The subjects of uint8 (H, W, 3). Raises RefusedError NO_SUBJECT, EngineError."""
        return answered(self.asking(image))

    def asking(self, image: Rgb) -> Asking[Found]:
        """The same, as work that asks for its looks; see `asks`. A COCO detector is run in place: it takes no batch."""
        found = yield Ask(self._network, image)
        raw_level = self._threshold
        salient = float(np.count_nonzero(_raw(found) >= raw_level)) / found.mask.size
        scores = {"saliency_peak": found.peak, "salient_area": salient}
        parts = components(found.mask, PART_LEVEL, _SUBSTANTIAL)
        if found.peak < self._threshold or salient < _LEAST_AREA or not parts:
            raise RefusedError(
                Reason.NO_SUBJECT,
                f"no subject: the saliency reaches {found.peak:.2f} (threshold {self._threshold:g}) "
                f"and covers {salient:.2%} of the frame above it",
                image,
                facts=Facts(scores=scores),
            )
        boxes = [_to_photograph(box, found.mask.shape, image.shape) for box, _, _ in parts]
        ratings = [found.floor + (found.peak - found.floor) * peak for _, _, peak in parts]
        scores["parts"] = float(len(parts))
        if self._subjects == "main":
            boxes, ratings = [_main_box(found.mask, self._main_share, image.shape)], [max(ratings)]
        if self._coco is not None:
            boxes, ratings, believed = _with_coco(boxes, ratings, self._coco, image, found)
            scores["coco_boxes_used"] = float(believed)
        return Found(Detection(tuple(boxes), tuple(ratings), found.mask, found.peak, found.floor), scores)


class DetectStage:
    """(Photo,) -> Detection; see `Stage`."""

    name = "detect"

    def __init__(self, config: JobConfig) -> None:
        cv2.setNumThreads(1)
        place = place_of(config)
        self.device = str(place)
        network = load_localiser(config, place)
        self._room = Room.for_networks(network)
        self._find = make_finder(config, network, place)

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return run_together(self.name, self.device, items, self._one, self._room)

    def _one(self, steps: Steps, photo: Photo) -> Asking[Done]:
        found = yield from self._find.asking(decode(photo.data, photo.header))
        return Done(found.detection, detection_facts(found), fan_out=len(found.detection.boxes))


def make_finder(config: JobConfig, network: SaliencyNetwork, place: Place = CPU) -> SubjectFinder:
    """The finder that the job asks for, over a loaded saliency network."""
    coco = load_detector(config, place)
    return SubjectFinder(
        network,
        coco,
        subjects=config.subjects,
        threshold=config.subject_threshold,
        main_share=config.main_share,
    )


def detection_facts(found: Found) -> Facts:
    """What detection adds to the facts of an image."""
    return Facts(boxes=found.detection.boxes, box_scores=found.detection.scores, scores=found.scores)


def _raw(found: SaliencyMap) -> npt.NDArray[np.float32]:
    scale = np.float32((found.peak - found.floor) / 255.0)
    return found.mask.astype(np.float32) * scale + np.float32(found.floor)


def _to_photograph(box: Box, map_shape: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    across, down = shape[1] / map_shape[1], shape[0] / map_shape[0]
    return (box[0] * across, box[1] * down, box[2] * across, box[3] * down)


def _main_box(mask: npt.NDArray[np.uint8], share: float, shape: tuple[int, ...]) -> Box:
    """Around the parts that are the main subject, in pixels of the photograph."""
    parts = rank_parts(mask, PART_LEVEL)
    return _to_photograph(parts.box(parts.main(share)), mask.shape, shape)


def _with_coco(
    boxes: Sequence[Box], ratings: Sequence[float], coco: CocoDetector, image: Rgb, found: SaliencyMap
) -> tuple[list[Box], list[float], int]:
    """Each box replaced by the COCO box that holds most of its saliency, if that is enough of it.

    Returns boxes and scores without repetitions (two parts of one person become one box) and how many are COCO's.
    """
    candidates = coco(image)
    saliency = cv2.integral(found.mask)
    kept: dict[Box, float] = {}
    believed = 0
    for box, rating in zip(boxes, ratings, strict=True):
        mass = _mass(saliency, box, image.shape)
        best: Box | None = None
        best_held = _COCO_HOLDS * mass
        for row in candidates.boxes:
            candidate = (float(row[0]), float(row[1]), float(row[2]), float(row[3]))
            shared = (
                max(box[0], candidate[0]),
                max(box[1], candidate[1]),
                min(box[2], candidate[2]),
                min(box[3], candidate[3]),
            )
            held = _mass(saliency, shared, image.shape)
            if held > best_held:
                best, best_held = candidate, held
        believed += best is not None
        chosen = best if best is not None else box
        kept[chosen] = max(rating, kept.get(chosen, 0.0))
    return list(kept), list(kept.values()), believed


def _mass(integral: npt.NDArray[Any], box: Box, shape: tuple[int, ...]) -> float:
    """Sum of the saliency inside a box of the photograph; 0 for an empty box."""
    rows, columns = integral.shape[0] - 1, integral.shape[1] - 1
    x0, x1 = round(box[0] * columns / shape[1]), round(box[2] * columns / shape[1])
    y0, y1 = round(box[1] * rows / shape[0]), round(box[3] * rows / shape[0])
    if x1 <= x0 or y1 <= y0:
        return 0.0
    return float(integral[y1, x1]) - float(integral[y0, x1]) - float(integral[y1, x0]) + float(integral[y0, x0])
