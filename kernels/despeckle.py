"""Despeckle: islands of a matte that are far smaller than the subject and lie away from it are taken off."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LEVEL = 0.05  # alpha from which a pixel belongs to an island; haze below it would join everything
_HALO = 4  # blocks around a speck in which its haze below that level goes with it
_WORKING_SIDE = 1024  # px; islands are looked for in blocks, so that a large photograph costs little


def despeckle(alpha: Floats, share: float = 0.01, distance: float = 0.05) -> tuple[Floats, int]:
    """(alpha without its specks, how many were taken off); the input itself when there are none.

    alpha: float32 (H, W) in 0..1. share: 0..1; an island with less than this share of the largest island's mass (the
    sum of alpha) is small. distance: share of the frame's diagonal; a small island nearer than this to a large one
    is the subject's own (an earring, a strand of hair, the dot of an i) and stays, and so does what is near to that.

    Islands are 8-connected in blocks of up to long side / 1024 pixels: those that lie nearer to each other than a block
    count as one.
    """
    height, width = alpha.shape
    block = max(1, math.ceil(max(height, width) / _WORKING_SIDE))
    small = _blocks(np.ascontiguousarray(alpha, np.float32), block)
    touched = (small[0] >= _LEVEL).view(np.uint8)
    count, labels, _, _ = cv2.connectedComponentsWithStats(touched, connectivity=8, ltype=cv2.CV_32S)
    if count <= 2:
        return alpha, 0
    masses = np.bincount(labels.ravel(), weights=small[1].ravel(), minlength=count)
    masses[0] = 0
    kept = masses >= share * masses.max()
    if kept[1:].all():
        return alpha, 0
    reach = distance * math.hypot(*small[0].shape)
    while True:  # what is near to what is kept is kept; each round reaches a little further, mostly one is enough
        away = cv2.distanceTransform((~kept[labels] | (labels == 0)).view(np.uint8), cv2.DIST_L2, 5)
        near = np.zeros(count, bool)
        near[np.unique(labels[np.asarray(away).reshape(labels.shape) < reach])] = True
        near[0] = False
        if not (near & ~kept).any():
            break
        kept |= near
    specks = int(np.count_nonzero(~kept[1:]))
    if not specks:
        return alpha, 0
    dust = (~kept[labels] & (labels > 0)).view(np.uint8)
    # A few blocks more on each side take the faint rim with it; never a pixel of what stays.
    dust = cv2.dilate(dust, np.ones((2 * _HALO + 1, 2 * _HALO + 1), np.uint8)) & (~(kept[labels] & (labels > 0))).view(
        np.uint8
    )
    out = alpha.copy()
    for y, x in zip(*np.nonzero(dust), strict=True):
        out[y * block : (y + 1) * block, x * block : (x + 1) * block] = 0
    return out, specks


def _blocks(alpha: Floats, block: int) -> tuple[Floats, Floats]:
    """The largest alpha of each block and its mean; the last blocks may be cut off by the frame."""
    if block == 1:
        return alpha, alpha
    height, width = alpha.shape
    padded = cv2.copyMakeBorder(alpha, 0, -height % block, 0, -width % block, cv2.BORDER_CONSTANT, value=0)
    rows, columns = padded.shape[0] // block, padded.shape[1] // block
    largest = cv2.dilate(padded, np.ones((block, block), np.uint8), anchor=(0, 0))[::block, ::block]
    mean = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(largest, np.float32), np.asarray(mean, np.float32).reshape(rows, columns)
