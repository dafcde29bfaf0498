"""Windows of an image: integer (x0, y0, x1, y1), x1 and y1 exclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Window = tuple[int, int, int, int]
Pixel = TypeVar("Pixel", bound=np.generic)


def crop(image: npt.NDArray[Pixel], window: Sequence[int]) -> npt.NDArray[Pixel]:
    """The pixels of a window, as a view (H', W'[, C]) without a copy.

    image: any dtype (H, W) or (H, W, C). Raises ValueError when the window is empty or leaves the image.
    """
    x0, y0, x1, y1 = (int(value) for value in window)
    height, width = image.shape[:2]
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"window {(x0, y0, x1, y1)} is empty or leaves the image of {width}x{height}")
    return image[y0:y1, x0:x1]


def expand_box(box: Sequence[float] | npt.NDArray[Any], margin: float, shape: Sequence[int]) -> Window:
    """The integer window around a box with a margin, inside the image and never empty.

    box: (x0, y0, x1, y1) in pixels. margin: share of the box's longer side, added on each side, so that thin things
    get as much context across as along. shape: the image's (H, W, ...). Rounded outwards.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    height, width = int(shape[0]), int(shape[1])
    extra = margin * max(x1 - x0, y1 - y0)
    left = min(max(0, math.floor(x0 - extra)), width - 1)
    top = min(max(0, math.floor(y0 - extra)), height - 1)
    right = max(min(width, math.ceil(x1 + extra)), left + 1)
    bottom = max(min(height, math.ceil(y1 + extra)), top + 1)
    return left, top, right, bottom
