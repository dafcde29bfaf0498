"""How good a matte is likely to be, without knowing the truth: a score and the figures behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.stages.messages import CropMask

_LOW, _HIGH = 0.05, 0.95

# Logistic regression of "IoU of at least .85" on soft_of_subject; see `confidence`.
_OFFSET, _SLOPE = 3.0, -11.1


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
