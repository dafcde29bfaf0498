"""What the matting network is shown of one tile: seven planes, at a whole fraction of the photograph's size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN

Plane = npt.NDArray[np.float32]

CHANNELS = 7


def tile_input(
    photo: npt.NDArray[np.uint8], mask: Plane, guess: Plane, known: npt.NDArray[np.uint8], step: int
) -> Plane:
    """float32 (1, 7, H / step, W / step), all in 0..1, by means of areas.

    Channels: the colours, known foreground, known background, the mask, the first guess. photo: uint8 (H, W, 3), whose
    sides are multiples of step. mask, guess: float32 (H, W) in 0..1. known: uint8 (H, W), a trimap of 0, 128 and 255.
    """
    height, width = mask.shape
    size = (width // step, height // step)
    out = np.empty((1, CHANNELS, size[1], size[0]), np.float32)
    front, back = (known == FOREGROUND).view(np.uint8), (known == BACKGROUND).view(np.uint8)
    if step > 1:
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)
        guess = np.asarray(cv2.resize(guess, size, interpolation=cv2.INTER_AREA), np.float32)
        # A cell is known only where all of it is.
        kernel = (step, step)
        front = _all_of(front, kernel, size)
        back = _all_of(back, kernel, size)
    for channel in range(3):
        np.multiply(photo[..., channel], np.float32(1 / 255), out=out[0, channel])
    out[0, 3], out[0, 4], out[0, 5], out[0, 6] = front, back, mask, guess
    return out


def known_and(soft: Plane, bands: npt.NDArray[np.uint8]) -> Plane:
    """What a trimap knows, and a mask where it knows nothing; float32 (H, W).

    soft: float32 (H, W) in 0..1. bands: uint8 (H, W) of 0, 128 and 255.
    """
    return np.asarray(np.where(bands == UNKNOWN, soft, bands == FOREGROUND), np.float32)


def cut_out(plane: npt.NDArray[Any], top: int, left: int, height: int, width: int) -> npt.NDArray[Any]:
    """A part of an array (H, W[, C]) that may reach beyond it; the frame's last pixels are repeated there."""
    rows, columns = plane.shape[:2]
    part = plane[max(0, top) : min(rows, top + height), max(0, left) : min(columns, left + width)]
    above, before = max(0, -top), max(0, -left)
    below, after = max(0, top + height - rows), max(0, left + width - columns)
    if not (above or before or below or after):
        return np.ascontiguousarray(part)
    return np.asarray(cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_REPLICATE))


def _all_of(mask: npt.NDArray[np.uint8], cell: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    blocks = mask.reshape(size[1], cell[1], size[0], cell[0])
    return np.asarray(blocks.min(axis=(1, 3)), np.uint8)
