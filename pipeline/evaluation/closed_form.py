"""Closed-form matting as a yardstick: pymatting's, too slow for a job (1.6-13 s a photograph).

Levin, Lischinski, Weiss, A Closed-Form Solution to Natural Image Matting, TPAMI 2008; Germer, Uelwer, Conrad,
Harmeling, PyMatting, JOSS 2020.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mattemill.kernels.trimap import FOREGROUND, UNKNOWN
from mattemill.pipeline.evaluation.needs import needed
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.stages.refine import Trimap, automatic_trimap


class ClosedFormRefiner:
    """pymatting's `estimate_alpha_cf` inside the trimap's unknown band; see `Refiner`.

    Raises UsageError when pymatting is not installed.
    """

    def __init__(self) -> None:
        needed("pymatting", "--refine closed_form")
        self._estimate: Any = importlib.import_module("pymatting.alpha.estimate_alpha_cf").estimate_alpha_cf

    def __call__(self, image: Rgb, soft: Alpha, bands: Trimap | None = None) -> Alpha:
        bands = automatic_trimap(soft) if bands is None else bands
        known: Alpha = np.asarray(bands == FOREGROUND, np.float32)
        unknown = bands == UNKNOWN
        # It wants both kinds of known pixels; without one of them there is nothing to propagate.
        if not unknown.any() or not (bands == FOREGROUND).any() or (bands != 0).all():
            return np.where(unknown, soft, known).astype(np.float32)
        levels = np.where(unknown, 0.5, known).astype(np.float64)
        alpha = self._estimate(image.astype(np.float64) / 255.0, levels)
        return np.ascontiguousarray(np.clip(alpha, 0.0, 1.0), np.float32)
