"""A trimap from a soft mask: sure foreground, sure background, and the band where a matte must be found."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

BACKGROUND: Final = 0
UNKNOWN: Final = 128
FOREGROUND: Final = 255

_CERTAIN, _UNSURE = 0.25, 0.75  # local softness at which the band begins, and stops, to widen
_STEPS = 3  # radii between the least and the widest; each costs one blur-free dilation


def trimap(
    alpha: npt.NDArray[np.float32], radius: float, low: float = 0.05, high: float = 0.95
) -> npt.NDArray[np.uint8]:
    """Mark as unknown what lies near an edge of the mask or where the mask itself is unsure.

    alpha: float32 (H, W) in 0..1. radius: pixels, at least 0; half the width of the band at a sharp edge. low, high:
    values up to (from) which the mask counts as sure. Returns uint8 (H, W) of 0, 128 and 255.

    The band is the union of squares around every unsure pixel and every pixel at the 0.5 contour. Their radius is
    `radius` where the mask is steep and grows to twice that where most of the pixels within `radius` are unsure (hair,
    mesh, blur): erosion and dilation whose radius follows the local softness. Distances are Chebyshev's, so that
    the dilations separate; a corner of the band is up to 1.4 times as far as its sides.
    """
    values = np.asarray(alpha, np.float32)
    inside = (values >= 0.5).view(np.uint8)
    soft = ((values > low) & (values < high)).view(np.uint8)
    contour = np.asarray(cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.uint8)
    seeds = soft | contour
    reach = max(0, round(radius))
    if reach > 0:
        window = 2 * reach + 1
        softness = cv2.blur(soft * np.uint8(255), (window, window))
        band = np.zeros_like(seeds)
        # From the softest seeds to all of them. Dilations by squares add up, so each step only adds its share.
        for step in range(_STEPS, 0, -1):
            level = 255 * (_CERTAIN + (_UNSURE - _CERTAIN) * step / _STEPS)
            band |= seeds & (softness >= level).view(np.uint8)
            band = _dilate(band, round(reach * step / _STEPS) - round(reach * (step - 1) / _STEPS))
        seeds = _dilate(band | seeds, reach)
    out = inside * np.uint8(FOREGROUND)
    out[seeds != 0] = UNKNOWN
    return out


def _dilate(mask: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.uint8]:
    if radius <= 0:
        return mask
    return np.asarray(cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)), np.uint8)
