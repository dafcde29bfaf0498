"""The Up filter of PNG, for all rows at once.

Portable Network Graphics (Third Edition), W3C 2025, section 9.2, filter type 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_UP = 2


def png_up(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Filtered rows, ready to be compressed: the filter's type byte, then each byte minus the one above it.

    pixels: uint8 (H, W) or (H, W, C), 8 bits a channel. Returns uint8 (H, 1 + W * C), contiguous.
    The row above the first one counts as zeros.
    """
    height = pixels.shape[0]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    out = np.empty((height, 1 + rows.shape[1]), np.uint8)
    out[:, 0] = _UP
    out[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=out[1:, 1:])
    return out
