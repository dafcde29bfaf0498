"""Edge feather: the edge of a matte made softer by a chosen number of pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_BOXES_FROM = 6.0  # px of sigma from which three box filters stand in for the Gaussian: their cost has no radius in it


def feather(alpha: Floats, radius: float) -> Floats:
    """Alpha blurred with a Gaussian, float32 (H, W) in 0..1; the input itself when the radius is 0.

    alpha: float32 (H, W) in 0..1. radius: pixels, 0 or more; the Gaussian's sigma is half of it, so that a hard edge
    becomes a ramp of about `radius` pixels to either side (alpha .02 and .98 there). The half-way line stays where it
    is, and hair stays, fainter. A subject that the frame cuts off keeps its full alpha at the frame.

    From a sigma of 6 on three box filters in a row take the Gaussian's place (Wells, Efficient Synthesis of Gaussian
    Filters by Cascaded Uniform Filters, 1986); they differ from it by less than 0.02.
    """
    if radius <= 0:
        return alpha
    sigma = radius / 2
    reach = math.ceil(3 * sigma) + 1
    x, y, width, height = cv2.boundingRect((alpha > 0).view(np.uint8))
    if not width:
        return alpha
    rows = slice(max(0, y - reach), min(alpha.shape[0], y + height + reach))
    columns = slice(max(0, x - reach), min(alpha.shape[1], x + width + reach))
    part = np.ascontiguousarray(alpha[rows, columns], np.float32)
    if sigma < _BOXES_FROM:
        blurred = cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    else:
        blurred = part
        for side in _box_sides(sigma):
            blurred = cv2.blur(blurred, (side, side), borderType=cv2.BORDER_REPLICATE)
    out = np.zeros(alpha.shape, np.float32)
    np.clip(np.asarray(blurred).reshape(part.shape), 0.0, 1.0, out=out[rows, columns])
    return out


def _box_sides(sigma: float) -> tuple[int, int, int]:
    """Odd sides of three boxes whose variances, (side^2 - 1) / 12 each, add up to sigma squared as nearly as can be."""
    ideal = math.sqrt(4 * sigma * sigma + 1)
    low = int(ideal)
    low -= 1 - low % 2
    high = low + 2
    larger = round((12 * sigma * sigma - 3 * (low * low - 1)) / (high * high - low * low))
    sides = [high] * max(0, min(3, larger)) + [low] * 3
    return sides[0], sides[1], sides[2]
