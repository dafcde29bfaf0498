"""A trimap from a soft mask: sure foreground, sure background, and the band where a matte must be found."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

BACKGROUND: Final = 0
UNKNOWN: Final = 128
FOREGROUND: Final = 255

Mask = npt.NDArray[np.uint8]

_CERTAIN, _UNSURE = 0.25, 0.75  # local softness at which the band begins, and stops, to widen
_STEPS = 3  # radii between the least and the widest; each costs a dilation
_LARGEST_BLOCK = 8  # px; one pixel in a block of 64 is still 4 of 255


def trimap(
    alpha: npt.NDArray[np.float32], radius: float, low: float = 0.05, high: float = 0.95
) -> npt.NDArray[np.uint8]:
    """Mark as unknown what lies near an edge of the mask or where the mask itself is unsure.

    alpha: float32 (H, W) in 0..1. radius: pixels, at least 0; half the width of the band at a sharp edge. low, high:
    values up to (from) which the mask counts as sure. Returns uint8 (H, W) of 0, 128 and 255.

    The band is the union of squares around every unsure pixel and every pixel at the 0.5 contour. Their radius is
    `radius` where the mask is steep and grows to twice that where most of the pixels within `radius` are unsure (hair,
    mesh, blur): erosion and dilation whose radius follows the local softness. Distances are Chebyshev's, so that
    the dilations separate; a corner of the band is up to 1.4 times as far as its sides. From a radius of 16 pixels on,
    the band is drawn in blocks of radius / 8: never narrower than said, and by at most two blocks wider.
    """
    values = np.asarray(alpha, np.float32)
    inside = (values >= 0.5).view(np.uint8)
    soft = ((values > low) & (values < high)).view(np.uint8)
    contour = np.asarray(cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.uint8)
    band = soft | contour
    reach = max(0, round(radius))
    if reach > 0:
        block = min(_LARGEST_BLOCK, max(1, reach // 8))
        band |= _enlarge(_widen(_reduce(band, block) > 0, _reduce(soft, block), -(-reach // block)), block, band.shape)
    out = inside * np.uint8(FOREGROUND)
    out[band != 0] = UNKNOWN
    return out


def _widen(seeds: npt.NDArray[np.bool_], soft: Mask, reach: int) -> Mask:
    """0 or 1 (h, w): within reach of a seed, and up to twice as far from seeds among soft pixels.

    soft: uint8 (h, w), the share of unsure pixels in each, 0..255.
    """
    softness = cv2.blur(soft, (2 * reach + 1, 2 * reach + 1))
    start = seeds.view(np.uint8)
    band = np.zeros_like(start)
    # From the softest seeds to all of them. Dilations by squares add up, so each step only adds its share.
    for step in range(_STEPS, 0, -1):
        level = 255 * (_CERTAIN + (_UNSURE - _CERTAIN) * step / _STEPS)
        band |= start & (softness >= level).view(np.uint8)
        band = _dilate(band, round(reach * step / _STEPS) - round(reach * (step - 1) / _STEPS))
    return _dilate(band | start, reach)


def _dilate(mask: Mask, radius: int) -> Mask:
    if radius <= 0:
        return mask
    return np.asarray(cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)), np.uint8)


def _reduce(mask: Mask, block: int) -> Mask:
    """Share of ones in each block, 0..255; the frame's last blocks may be cut off."""
    height, width = mask.shape
    full = mask * np.uint8(255)
    if block == 1:
        return full
    full = np.asarray(cv2.copyMakeBorder(full, 0, -height % block, 0, -width % block, cv2.BORDER_REPLICATE), np.uint8)
    size = (full.shape[1] // block, full.shape[0] // block)
    return np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), np.uint8).reshape(size[::-1])


def _enlarge(mask: Mask, block: int, shape: tuple[int, ...]) -> Mask:
    if block == 1:
        return mask
    size = (mask.shape[1] * block, mask.shape[0] * block)
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)[: shape[0], : shape[1]]
