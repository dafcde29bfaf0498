"""Where a mask is unsure: how many pixels are, and which share of those around each pixel."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

LOW, HIGH = 0.05, 0.95
"""A pixel between the two counts as unsure where shares are taken."""


def unsure_counts(soft: Plane, low: float, high: float) -> tuple[int, int]:
    """How many pixels are at least `high`, and how many strictly between the two. soft: float32 (H, W) in 0..1."""
    sure = cv2.countNonZero((soft >= high).view(np.uint8))
    return sure, cv2.countNonZero(((soft > low) & (soft < high)).view(np.uint8))


def unsure_around(soft: Plane, radius: int) -> Plane:
    """Share of unsure pixels in the square of `radius` around each pixel; float32 (H, W) in 0..1.

    soft: float32 (H, W) in 0..1. Beyond the frame the mask is mirrored.
    """
    unsure = np.asarray((soft > LOW) & (soft < HIGH), np.float32)
    return np.asarray(cv2.blur(unsure, (2 * radius + 1, 2 * radius + 1)), np.float32)


def unsure_share(around: Plane, least: float, most: float) -> Plane:
    """From 0 where `around` is `least` or below to 1 where it is `most` or above; in place. around: float32 (H, W)."""
    around -= np.float32(least)
    around *= np.float32(1 / (most - least))
    return np.asarray(np.clip(around, 0.0, 1.0, out=around), np.float32)
