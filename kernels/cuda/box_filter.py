"""Means over squares, of many planes at once: the filter under the guided filter and the wide feather."""

from __future__ import annotations

from typing import Final

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check

PLAIN: Final = 0
GREY: Final = 1  # of planes I, p: the means of I, p, Ip, II
COLOUR: Final = 2  # of planes r, g, b, p: of r, g, b, p, rp, gp, bp, rr, gg, bb, rg, rb, gb

_MADE = {GREY: 4, COLOUR: 13}
_SHARED = 48 * 1024
_RUN, _COLUMN = 256, 32  # box_filter.cu


def box_mean(
    device: Device, planes: DeviceArray, radius: int, *, repeat_edge: bool = False, layout: int = PLAIN
) -> DeviceArray:
    """Means over squares of 2 * radius + 1 pixels, float32 (P, H, W).

    planes: float32 (P, H, W), contiguous. repeat_edge: beyond the frame its edge counts on (OpenCV's BORDER_REPLICATE);
    else squares are cut off at the frame. layout: GREY or COLOUR takes the means of products, see there.

    Tolerance: 1e-5 of the largest value against float64. Raises ValueError for a radius over 5,000.
    """
    count, height, width = check("box_mean", planes, np.float32, 3).shape
    shared = (_RUN + 2 * radius + 1) * 4
    if radius < 0 or shared > _SHARED:
        raise ValueError(f"box_mean: radius = {radius}: must be from 0 to {(_SHARED // 4 - _RUN - 1) // 2} pixels")
    if not planes.contiguous:
        raise ValueError("box_mean: planes must be contiguous")
    count = _MADE.get(layout, count)
    rows, out = (device.empty((count, height, width), np.float32) for _ in range(2))
    device.launch(
        "box_rows",
        (height, blocks(width, _RUN), count),
        (_RUN, 1, 1),
        planes,
        rows,
        height,
        width,
        radius,
        int(repeat_edge),
        layout,
        shared=shared,
    )
    grid = (blocks(width, 128), blocks(height, _COLUMN), count)
    device.launch("box_columns", grid, (128, 1, 1), rows, out, height, width, radius, int(repeat_edge))
    return out
