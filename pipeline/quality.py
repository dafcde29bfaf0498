"""How good a matte is likely to be, without knowing the truth: a score and the figures behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.contour_figures import contour_figures
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.stages.messages import CropMask

_LOW, _HIGH = 0.05, 0.95
_OFFSET, _SLOPE = 3.0, -11.1
_SMALL = 320  # pixels, long side: as fine as the networks see


def softness(mask: npt.NDArray[np.uint8]) -> float:
    """Share of a mask's pixels over 0.05 that are below 0.95, 0..1; 1 for an empty mask. mask: uint8 (h, w)."""
    touched, soft = _counts(mask)
    return soft / touched if touched else 1.0


def mask_figures(masks: Sequence[CropMask], shape: tuple[int, int]) -> dict[str, float]:
    """Figures of the soft masks before refinement, taken at the network's resolution.

    shape: (H, W) of the photograph. All in 0..1:
    soft_of_subject: `softness` of all masks together.
    soft_share: the same as a share of the frame. subject_area: share of the frame that the subject covers.
    Windows that overlap (`--subjects all`) count twice.
    """
    frame = shape[0] * shape[1]
    soft = touched = area = 0.0
    for one in masks:
        x0, y0, x1, y1 = one.window
        weight = (x1 - x0) * (y1 - y0) / one.mask.size
        touched_here, soft_here = _counts(one.mask)
        touched += weight * touched_here
        soft += weight * soft_here
        area += weight * float(one.mask.sum()) / 255.0
    return {
        "soft_of_subject": soft / touched if touched else 1.0,
        "soft_share": min(1.0, soft / frame),
        "subject_area": min(1.0, area / frame),
    }


def picture_figures(image: Rgb, soft: Alpha) -> dict[str, float]:
    """Figures of how a soft mask lies in its photograph; 3-6 ms for 2 MP.

    image: uint8 (H, W, 3). soft: float32 (H, W) in 0..1. Beside those of `contour_figures`:
    border_contact: share of the frame's outermost pixels that the subject covers. cut_off: the same of the side of the
    frame that it covers most. mask_area: share of the frame at or above 0.5.
    """
    height, width = soft.shape
    scale = min(1.0, _SMALL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(soft, size, interpolation=cv2.INTER_AREA), np.float32)
    inside = small >= 0.5
    sides = [side.mean() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1])]
    edge = np.concatenate([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    return contour_figures(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), small) | {
        "border_contact": float(edge.mean()),
        "cut_off": float(max(sides)),
        "mask_area": float(inside.mean()),
    }


def evidence_figures(masks: Sequence[CropMask]) -> dict[str, float]:
    """What the looks behind the masks said of each other, the worst of several masks; empty when none says anything.

    See `looks.Consensus`; `rival` is the rank of the second part over the first's, `dropped` the share that went.
    """
    figures: dict[str, float] = {}
    for one in masks:
        for name, value in one.evidence.items():
            worse = min if name == "agreement" else max
            figures[name] = worse(figures[name], value) if name in figures else value
    return figures


def _counts(mask: npt.NDArray[np.uint8]) -> tuple[int, int]:
    touched = int(np.count_nonzero(mask >= _LOW * 255))
    return touched, touched - int(np.count_nonzero(mask >= _HIGH * 255))


def confidence(figures: Mapping[str, float]) -> float:
    """How likely the matte has an IoU of .85 or more with the truth, 0..1, from the figures of `mask_figures`.

    A network that is sure has few pixels between in and out. The map from that share to a likelihood is a logistic
    regression on 115 photographs with ground truth (../shared/evaldata without coco_tiny100, whose truth is not the
    salient thing; u2netp; 45 of them under .85): AUC .85. Of those with a confidence under .35, 88 % were under .85,
    and they were 51 % of all that were. Figures tried beside it add little: disagreement of full frame and crop,
    expected IoU of the soft mask, soft pixels far from the contour (AUC .83), area, contact with the border. It does
    not know why an edge is soft: real hair, mesh and very thin subjects score lower than they deserve. Other networks
    draw edges of another softness: for them it ranks, but the threshold wants to be set anew.
    """
    return 1.0 / (1.0 + math.exp(-(_OFFSET + _SLOPE * figures["soft_of_subject"])))
