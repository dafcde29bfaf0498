"""Letterbox: an image scaled to fit a network's input, its ratio kept, the rest filled."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt


def letterbox(
    image: npt.NDArray[np.uint8],
    size: tuple[int, int],
    fill: int = 114,
    *,
    align: Literal["centre", "corner"] = "centre",
) -> tuple[npt.NDArray[np.uint8], float, tuple[int, int]]:
    """Scale an image so that it just fits, and pad it to the asked size.

    image: uint8 (H, W, 3). size: (h, w) of the result in pixels. fill: 0..255, the padding's value in every channel.
    align: where the image lies in the padding; 'corner' is top left (YOLOX), 'centre' the usual.

    Returns (uint8 (h, w, 3) contiguous, scale, (dx, dy)): a point (x, y) of the image lies at
    (x * scale + dx, y * scale + dy) of the result, to within the rounding of the scaled size to whole pixels.
    """
    height, width = image.shape[:2]
    out_height, out_width = size
    scale = min(out_height / height, out_width / width)
    # Never 0 px: a 30,000 x 10 strip at 320 px is 0.1 px high.
    new_height = min(out_height, max(1, round(height * scale)))
    new_width = min(out_width, max(1, round(width * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    dx, dy = ((out_width - new_width) // 2, (out_height - new_height) // 2) if align == "centre" else (0, 0)
    out = np.full((out_height, out_width, 3), fill, np.uint8)
    scaled = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    out[dy : dy + new_height, dx : dx + new_width] = scaled
    return out, scale, (dx, dy)
