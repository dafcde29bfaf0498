"""Subjects with a known shape for the tests of the finishing kernels."""

from __future__ import annotations

import cv2
import numpy as np

WHITE = (240.0, 240.0, 235.0)
RED = (200.0, 40.0, 30.0)


def blurred(mask: np.ndarray, sigma: float = 1.2) -> np.ndarray:
    """A mask as a matte with a soft edge: float32 in 0..1."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def photograph(
    alpha: np.ndarray, subject: tuple[float, ...] = RED, ground: tuple[float, ...] = WHITE, noise: float = 2.0
) -> np.ndarray:
    """A subject of one colour on a ground of another, with grain: uint8 (H, W, 3)."""
    weight = alpha[..., None]
    mixed = weight * np.array(subject) + (1 - weight) * np.array(ground)
    grain = np.random.default_rng(7).normal(0, noise, mixed.shape)
    return np.clip(mixed + grain, 0, 255).astype(np.uint8)


def distance(height: int, width: int, x: float, y: float) -> np.ndarray:
    """Pixels from a point."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.hypot(columns - x, rows - y)
