"""The segment stage: a soft mask of the crop around each subject, from several looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window, expand_box
from mattemill.kernels.parts import nearest_kept, rank_parts
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import CPU, Place, place_of
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.looks import Consensus, Look, consensus, merged, seen
from mattemill.pipeline.models.load import LOCALISER, load_second, load_segmenter
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Photo, Rgb
from mattemill.pipeline.stages.asks import Ask, Asking, answered
from mattemill.pipeline.stages.each import Steps
from mattemill.pipeline.stages.messages import CropMask, Detection
from mattemill.pipeline.stages.stage import Done, StageResult
from mattemill.pipeline.stages.together import Room, run_together

_NEARLY_ALL = 0.85  # of the frame: from here on a crop shows the network nothing that the full frame did not
_BODY, _WHOLE = 0.5, 0.3  # of the mask: what parts are told apart by; what the window must hold of them


class Segmenter:
    """Looks at a subject until there is little doubt, and makes one mask of the looks; see `looks.consensus`.

    The first look is the full frame, which detection brings along when its network (the localiser) also segments. The
    second is the crop around the box; none is taken where that is nearly the whole frame. Where both leave doubt and
    there is a second network, it looks at the full frame. Then, for the main subject, parts that are other things go.

    margin: of the box's longer side, on each side. main_share: see `kernels.parts`; None keeps everything in the box.
    second, second_doubt: the second network, and the doubt from which it is asked; see `looks.doubt`.

    Mean IoU over 118 photographs, and the compute in passes of u2netp: full frame .744, 1; the surer of it and a crop
    around everything .757, 1.7; as here .785, 1.8; with u2net in doubt .815, 2.8 (benchmarks/crops.py).
    The constants were chosen on these photographs: with main_share chosen on nine tenths of them, the rest has .811.
    Tried beside it and left out, as each was within .005 or worse: a mirrored look, the frame with its ratio kept, a
    crop with 25 % around it, u2net on the crop.
    """

    def __init__(
        self,
        network: SaliencyNetwork,
        *,
        margin: float,
        localiser: str,
        main_share: float | None = None,
        second: SaliencyNetwork | None = None,
        second_doubt: float = 0.0,
    ) -> None:
        self._network = network
        self._margin = margin
        self._same_network = network.card.name == localiser
        self._main_share = main_share
        self._second = second
        self._second_doubt = second_doubt

    def __call__(
        self, image: Callable[[], Rgb], shape: tuple[int, int], detection: Detection, index: int
    ) -> tuple[CropMask, dict[str, float]]:
        """The mask of one box and its figures.

        image: gives the photograph, uint8 (H, W, 3); called only when its pixels are needed. shape: its (H, W).
        Raises EngineError, ImageError (from `image`).
        """
        return answered(self.asking(image, shape, detection, index))

    def asking(
        self, image: Callable[[], Rgb], shape: tuple[int, int], detection: Detection, index: int
    ) -> Asking[tuple[CropMask, dict[str, float]]]:
        """The same, as work that asks for its looks; see `asks`."""
        frame = (0, 0, shape[1], shape[0])
        box = expand_box(detection.boxes[index], self._margin, shape)
        looks, scores = yield from self._first_looks(image, frame, box, detection)
        # One of several subjects is compared where it is: the full frame's map shows the others, too.
        where = frame if self._main_share is not None else box
        size = looks[0].mask.shape[:2]
        agreed = consensus(looks, where, size)
        scores["second_network"] = 0.0
        if self._second is not None and agreed.doubt >= self._second_doubt:
            found = yield Ask(self._second, image())
            looks = [*looks, Look(found.mask, frame, found.peak, found.floor)]
            agreed = consensus(looks, where, size)
            scores["second_network"] = 1.0
        scores |= {"looks": float(len(looks)), "looks_believed": float(len(agreed.looks))}
        scores |= {"agreement": agreed.agreement, "haze": agreed.haze, "doubt": agreed.doubt}
        mask, rival, dropped = self._mask(agreed, where, size, shape)
        scores |= {"several_subjects": rival, "dropped": dropped}
        evidence = {name: scores[name] for name in EVIDENCE}
        return CropMask(mask.window, mask.mask, evidence), scores

    def _first_looks(
        self, image: Callable[[], Rgb], frame: Window, box: Window, detection: Detection
    ) -> Asking[tuple[list[Look], dict[str, float]]]:
        share = (box[2] - box[0]) * (box[3] - box[1]) / (frame[2] * frame[3])
        scores = {"crop_share": share, "second_pass": 0.0}
        looks = []
        if self._same_network and detection.saliency is not None:
            looks.append(Look(detection.saliency, frame, detection.peak, detection.floor))
            if share >= _NEARLY_ALL:
                return looks, scores
        found = yield Ask(self._network, image(), box)
        looks.append(Look.of_crop(found.mask, box, found.peak, found.floor))
        return looks, scores | {"second_pass": 1.0, "crop_peak": found.peak}

    def _mask(
        self, agreed: Consensus, where: Window, size: tuple[int, int], shape: tuple[int, int]
    ) -> tuple[CropMask, float, float]:
        """The mask with the window that it needs, the rank of the second part, and the share of the mass that went."""
        if self._main_share is None:
            return CropMask(where, _bytes(merged(agreed.looks, where, size))), 0.0, 0.0
        whole = merged(agreed.looks, where, size)
        parts = rank_parts(whole, _BODY)
        if not len(parts.ranks):  # doubt everywhere: the crop as it is, for a person to look at
            window = agreed.looks[0].window
            return CropMask(window, _bytes(merged(agreed.looks, window, size))), 0.0, 0.0
        keep = parts.main(self._main_share)
        near = nearest_kept(parts, keep)
        left = rank_parts(whole * near, _WHOLE)
        box = left.box(np.ones(len(left.ranks), np.bool_))
        across, down = shape[1] / size[1], shape[0] / size[0]
        window = expand_box((box[0] * across, box[1] * down, box[2] * across, box[3] * down), self._margin, shape)
        # Made again for the window that the subject needs, finer than in the frame.
        mask = merged(agreed.looks, window, size)
        if not keep.all():
            allowed, _ = seen(Look(near.astype(np.uint8) * 255, where), window, size)
            mask = mask * (allowed >= 0.5)
        dropped = float(parts.masses[~keep].sum() / parts.masses.sum())
        return CropMask(window, _bytes(mask)), parts.rival(), dropped


EVIDENCE = ("agreement", "haze", "doubt", "several_subjects", "dropped", "second_network")
"""What of a mask's figures the score is made of; it travels with the mask."""


class SegmentStage:
    """(Photo, Detection, int crop index) -> CropMask; see `Stage`."""

    name = "segment"

    def __init__(self, config: JobConfig) -> None:
        cv2.setNumThreads(1)
        place = place_of(config)
        self.device = str(place)
        network = load_segmenter(config, place)
        self._room = Room.for_networks(network)
        self._segment = make_segmenter(config, network, place)

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return run_together(self.name, self.device, items, self._one, self._room)

    def _one(self, steps: Steps, photo: Photo, detection: Detection, index: int) -> Asking[Done]:
        width, height = photo.header.shown_size
        image = _once(lambda: decode(photo.data, photo.header))
        mask, scores = yield from self._segment.asking(image, (height, width), detection, index)
        return Done(mask, Facts(scores=scores))


def make_segmenter(config: JobConfig, network: SaliencyNetwork, place: Place = CPU) -> Segmenter:
    """The segmenter that the job asks for, over a loaded network. Loads the second one at `place`, if there is one."""
    return Segmenter(
        network,
        margin=config.crop_margin,
        localiser=LOCALISER,
        main_share=config.main_share if config.subjects == "main" else None,
        second=load_second(config, network, place),
        second_doubt=config.second_doubt,
    )


def _once(make: Callable[[], Rgb]) -> Callable[[], Rgb]:
    """The photograph is decoded when it is first asked for, and then kept while its looks are taken."""
    made: list[Rgb] = []

    def image() -> Rgb:
        if not made:
            made.append(make())
        return made[0]

    return image


def _bytes(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(values * np.float32(255.0)), np.uint8)


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
