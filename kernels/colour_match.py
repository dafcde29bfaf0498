"""The subject's colours brought near those of a new background.

Reinhard, Ashikhmin, Gooch, Shirley: Color Transfer between Images, IEEE CG&A 2001: each channel of a decorrelated
colour space gets the mean and the standard deviation of the target's. The space here is CIELAB (D65), which has the
l, alpha and beta of the paper as lightness and two opponent axes, and no logarithm of black.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_STRIP = 1 << 18  # pixels at a time: 3 MB of floats
_LEAST_SPREAD, _MOST_SPREAD = 0.5, 2.0  # the contrast is at most halved or doubled: a flat sky flattens no subject


def match_colour(front: Bytes, alpha: npt.NDArray[Any], target: Bytes, strength: float) -> Bytes:
    """The subject with the colour statistics of the target, uint8 (H, W, 3); the input itself at strength 0.

    front: uint8 (H, W, 3), sRGB. alpha: float32 (H, W) in 0..1; each pixel counts by it. target: uint8 (h, w, 3), the
    new background. strength: 0..1, how far from the colours as they are (0) to the target's mean and spread (1).
    The ratio of the spreads is held within 0.5..2.
    """
    if strength <= 0 or not alpha.any():
        return front
    mean, spread = _statistics(front, np.ascontiguousarray(alpha, np.float32))
    wanted, wide = _statistics(target, None)
    ratio = np.clip(wide / np.maximum(spread, 1e-3), _LEAST_SPREAD, _MOST_SPREAD)
    # lab + strength * ((lab - mean) * ratio + wanted - lab), as one scale and one offset a channel.
    scale: Floats = np.asarray(1 + strength * (ratio - 1), np.float32)
    offset: Floats = np.asarray(strength * (wanted - mean * ratio), np.float32)
    out = np.empty_like(front)
    for rows in _strips(front.shape):
        lab = _lab(front[rows])
        lab *= scale
        lab += offset
        rgb = np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), np.float32)
        rgb *= np.float32(255)
        rgb += np.float32(0.5)
        out[rows] = np.clip(rgb, 0, 255, out=rgb).astype(np.uint8)
    return out


def _statistics(image: Bytes, weight: Floats | None) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of L, a and b, (3,) each; every pixel counts by its weight."""
    total = 0.0
    sums, squares = np.zeros(3), np.zeros(3)
    for rows in _strips(image.shape):
        lab = _lab(image[rows]).reshape(-1, 3)
        if weight is None:
            total += len(lab)
            sums += lab.sum(axis=0, dtype=np.float64)
            squares += np.square(lab).sum(axis=0, dtype=np.float64)
        else:
            shares = weight[rows].reshape(-1)
            total += float(shares.sum(dtype=np.float64))
            sums += shares @ lab
            squares += shares @ np.square(lab)
    mean = sums / max(total, 1e-6)
    return mean, np.sqrt(np.maximum(squares / max(total, 1e-6) - mean * mean, 0))


def _lab(rgb: Bytes) -> Floats:
    """CIELAB of sRGB bytes: L in 0..100, a and b about -127..127; float32."""
    unit = np.multiply(rgb, np.float32(1 / 255), dtype=np.float32)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(unit), cv2.COLOR_RGB2Lab), np.float32)


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    rows = max(1, _STRIP // shape[1])
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))
