"""The segment stage: a soft mask of the crop around each subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import crop, expand_box
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.devices import resolve_device
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.models.load import LOCALISER, load_saliency
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Photo, Rgb
from mattemill.pipeline.stages.each import Steps, run_each
from mattemill.pipeline.stages.messages import CropMask, Detection
from mattemill.pipeline.stages.stage import Done, StageResult

_NEARLY_ALL = 0.80  # of the frame: from here on a crop shows the network nothing that the full frame did not


class Segmenter:
    """Crops around a subject, with margin, through the segmentation network.

    margin: of the box's longer side, on each side. localiser: the network whose full-frame map detection brings along;
    when it is the segmenting network too and the crop is nearly the whole frame, that map is the mask and no second
    pass is made (fact `saliency_reused` = 1).
    """

    def __init__(self, network: SaliencyNetwork, *, margin: float, localiser: str) -> None:
        self._network = network
        self._margin = margin
        self._same_network = network.card.name == localiser

    def __call__(
        self, image: Callable[[], Rgb], shape: tuple[int, int], detection: Detection, index: int
    ) -> tuple[CropMask, dict[str, float]]:
        """The mask of one box and its figures.

        image: gives the photograph, uint8 (H, W, 3); called only when its pixels are needed. shape: its (H, W).
        Raises EngineError, ImageError (from `image`).
        """
        window = expand_box(detection.boxes[index], self._margin, shape)
        x0, y0, x1, y1 = window
        share = (x1 - x0) * (y1 - y0) / (shape[0] * shape[1])
        saliency = detection.saliency
        if self._same_network and saliency is not None and share >= _NEARLY_ALL:
            return CropMask((0, 0, shape[1], shape[0]), saliency), {"crop_share": share, "saliency_reused": 1.0}
        found = self._network(crop(image(), window))
        scores = {"crop_share": share, "saliency_reused": 0.0, "crop_peak": found.peak}
        if saliency is not None:
            scores["agreement"] = agreement(saliency, found.mask, window, shape)
        return CropMask(window, found.mask), scores


class SegmentStage:
    """(Photo, Detection, int crop index) -> CropMask; see `Stage`."""

    name = "segment"

    def __init__(self, config: JobConfig) -> None:
        cv2.setNumThreads(1)
        self.device = resolve_device(config.device)
        self._segment = make_segmenter(config, load_saliency(config.model, self.device))

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return run_each(self.name, self.device, items, self._one)

    def _one(self, steps: Steps, photo: Photo, detection: Detection, index: int) -> Done:
        width, height = photo.header.shown_size
        mask, scores = self._segment(lambda: decode(photo.data, photo.header), (height, width), detection, index)
        return Done(mask, Facts(scores=scores))


def make_segmenter(config: JobConfig, network: SaliencyNetwork) -> Segmenter:
    """The segmenter that the job asks for, over a loaded network."""
    return Segmenter(network, margin=config.crop_margin, localiser=LOCALISER)


def agreement(
    saliency: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.uint8],
    window: tuple[int, int, int, int],
    shape: tuple[int, int],
) -> float:
    """How alike the network sees the subject in the full frame and in the crop: soft IoU in 0..1.

    sum(min) / sum(max) of the two maps inside the window (Ruzicka's similarity).
    """
    rows, columns = saliency.shape
    x0, x1 = window[0] * columns // shape[1], -(-window[2] * columns // shape[1])
    y0, y1 = window[1] * rows // shape[0], -(-window[3] * rows // shape[0])
    inside = np.ascontiguousarray(saliency[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    other = cv2.resize(mask, (inside.shape[1], inside.shape[0]), interpolation=cv2.INTER_AREA)
    largest = float(np.maximum(inside, other).sum())
    return float(np.minimum(inside, other).sum()) / largest if largest else 0.0
