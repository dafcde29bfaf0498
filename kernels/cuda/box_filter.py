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
_EXACT_RADIUS = 2047  # its square has less than 2^24 pixels


def box_mean(
    device: Device, planes: DeviceArray, radius: int, *, repeat_edge: bool = False, layout: int = PLAIN
) -> DeviceArray:
    """Means over squares of 2 * radius + 1 pixels, float32 (P, H, W).

    planes: float32 (P, H, W), contiguous. repeat_edge: beyond the frame its edge counts on (OpenCV's BORDER_REPLICATE);
    else squares are cut off at the frame. layout: GREY or COLOUR takes the means of products, see there.

    Tolerance: 1e-5 of the largest value against float64. Raises ValueError for a radius over 5,000.
    """
    return _boxes(device, "box_mean", planes, radius, repeat_edge, layout, (0.0, 0.0))


def box_share(device: Device, planes: DeviceArray, radius: int) -> DeviceArray:
    """Which share of the square of 2 * radius + 1 pixels around each is 1, float32 (P, H, W).

    planes: float32 (P, H, W) of 0 and 1, contiguous; beyond the frame they are 0. Pixels are counted in whole numbers
    and the count multiplied by 1 / (2 * radius + 1)^2 in double, as cv2.blur does: its very numbers, not just close to
    them. Raises ValueError for a radius over 2,047: floats are whole numbers up to 2^24.
    """
    if radius > _EXACT_RADIUS:
        raise ValueError(f"box_share: radius = {radius}: must be at most {_EXACT_RADIUS} pixels")
    return _boxes(device, "box_share", planes, radius, False, PLAIN, (1.0, 1 / (2 * radius + 1) ** 2))


def _boxes(
    device: Device,
    name: str,
    planes: DeviceArray,
    radius: int,
    repeat_edge: bool,
    layout: int,
    scales: tuple[float, float],
) -> DeviceArray:
    """Squares of every plane. scales: of the pass along the rows and of that down the columns, see box_filter.cu."""
    count, height, width = check(name, planes, np.float32, 3).shape
    shared = (_RUN + 2 * radius + 1) * 4
    if radius < 0 or shared > _SHARED:
        raise ValueError(f"{name}: radius = {radius}: must be from 0 to {(_SHARED // 4 - _RUN - 1) // 2} pixels")
    if not planes.contiguous:
        raise ValueError(f"{name}: planes must be contiguous")
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
        scales[0],
        shared=shared,
    )
    grid = (blocks(width, 128), blocks(height, _COLUMN), count)
    device.launch("box_columns", grid, (128, 1, 1), rows, out, height, width, radius, int(repeat_edge), scales[1])
    return out
