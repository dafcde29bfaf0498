"""Masks of crops, put back into the frame of the photograph, on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_resize
from mattemill.kernels.cuda.planes import AREA, CUBIC, area_filter

_JOB = np.dtype(
    [("mask", np.uint64), ("stride", np.int64)]
    + [(name, np.int32) for name in ("height", "width", "x0", "y0", "x1", "y1", "filter", "unused")]
)


def paste_masks(
    device: Device, masks: Iterable[tuple[DeviceArray, Sequence[int]]], shape: tuple[int, int]
) -> DeviceArray:
    """One alpha for the photograph, float32 (H, W) in 0..1, 0 outside every window.

    masks: pairs of (uint8 (h, w), or a view, and an integer window (x0, y0, x1, y1) inside the photograph).
    shape: (H, W). As `mattemill.kernels.paste.paste_masks`; tolerance 1e-5 when enlarging, 2e-3 when reducing (OpenCV
    leaves out what covers less than a thousandth of a pixel). Raises ValueError for a window that leaves it.
    """
    height, width = shape
    rows = []
    for mask, window in masks:
        x0, y0, x1, y1 = (int(value) for value in window)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"window {(x0, y0, x1, y1)} is empty or leaves the photograph of {width}x{height}")
        before, after = check("paste_masks", mask, np.uint8, 2).shape, (y1 - y0, x1 - x0)
        check_resize("paste_masks", before, after)
        if before == after:
            chosen = AREA  # one tap of weight 1
        else:
            chosen = area_filter(before, after) if after[0] * after[1] < before[0] * before[1] else CUBIC
        rows.append((mask.pointer, mask.row_bytes, *before, x0, y0, x1, y1, chosen, 0))
    out = device.empty(shape, np.float32)
    table = device.upload(np.array(rows, _JOB)) if rows else None
    grid = (blocks(width, 32), blocks(height, 8), 1)
    device.launch("paste_masks", grid, (32, 8, 1), table, len(rows), out, height, width)
    return out
