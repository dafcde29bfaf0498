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
from mattemill.pipeline.quality import softness
from mattemill.pipeline.stages.each import Steps, run_each
from mattemill.pipeline.stages.messages import CropMask, Detection
from mattemill.pipeline.stages.stage import Done, StageResult

_NEARLY_ALL = 0.80  # of the frame: from here on a crop shows the network nothing that the full frame did not


class Segmenter:
    """Crops around a subject, with margin, through the segmentation network.

    margin: of the box's longer side, on each side. localiser: the network whose full-frame map detection brings along.
    When that is the segmenting network too, there are two looks at the subject, full frame and crop, and the surer one
    (fewer pixels between in and out) is taken: a bad crop is found out, and a good one keeps its finer edges. u2netp,
    mean IoU of full frame, crop, the surer one: products .759 .909 .909, animals .929 .876 .928, portraits .907 .881
    .909, all 118 photographs .744 .758 .757. When the crop is nearly the whole frame besides, no second pass is made
    (score `second_pass` = 0): there it gained nothing. `saliency_reused` = 1 says that the full-frame map is the mask.
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
            return CropMask((0, 0, shape[1], shape[0]), saliency), {
                "crop_share": share,
                "saliency_reused": 1.0,
                "second_pass": 0.0,
            }
        found = self._network(crop(image(), window))
        scores = {"crop_share": share, "saliency_reused": 0.0, "second_pass": 1.0, "crop_peak": found.peak}
        if saliency is None:
            return CropMask(window, found.mask), scores
        full_frame = on_crop(saliency, window, shape, found.mask.shape)
        scores["agreement"] = agreement(full_frame, found.mask)
        if self._same_network and softness(full_frame) < softness(found.mask):
            scores["saliency_reused"] = 1.0
            return CropMask(window, full_frame), scores
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


def on_crop(
    saliency: npt.NDArray[np.uint8],
    window: tuple[int, int, int, int],
    shape: tuple[int, int],
    size: tuple[int, ...],
) -> npt.NDArray[np.uint8]:
    """The full-frame map as seen through a crop: uint8 of `size` = (h, w), linearly interpolated.

    saliency: uint8 (h', w') over the whole photograph of `shape` = (H, W). window: of the crop.
    """
    x0, y0, x1, y1 = window
    across, down = saliency.shape[1] / shape[1], saliency.shape[0] / shape[0]  # map pixels a photograph's pixel
    step_x, step_y = (x1 - x0) * across / size[1], (y1 - y0) * down / size[0]
    # Pixel centres meet pixel centres: hence the halves.
    back = np.array(
        [[step_x, 0, x0 * across + step_x / 2 - 0.5], [0, step_y, y0 * down + step_y / 2 - 0.5]], np.float64
    )
    seen = cv2.warpAffine(
        saliency,
        back,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(seen, np.uint8)


def agreement(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """How alike two soft masks of one size are, 0..1: sum of minima over sum of maxima (Ruzicka); 0 for empty ones."""
    largest = float(np.maximum(one, other).sum())
    return float(np.minimum(one, other).sum()) / largest if largest else 0.0
