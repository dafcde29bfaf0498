"""Colour lines on the device, drawn where a trimap is unknown."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_alike, check_resize


def draw_colour_lines(
    device: Device, lines: DeviceArray, image: DeviceArray, prior: DeviceArray, bands: DeviceArray
) -> DeviceArray:
    """`mattemill.kernels.colour_lines.apply_colour_lines` in the unknown band, 0 and 1 elsewhere; float32 (H, W).

    lines: float32 (5, h, w), contiguous. image: uint8 (H, W, 3). prior: float32 (H, W) in 0..1. Both may be views.
    bands: uint8 (H, W) of 0, 128 and 255, contiguous. Tolerance: 1e-5 a unit of the lines.
    """
    height, width = check("draw_colour_lines", bands, np.uint8, 2).shape
    planes, *small = check("draw_colour_lines", lines, np.float32, 3).shape
    check("draw_colour_lines", image, np.uint8, 3)
    check("draw_colour_lines", prior, np.float32, 2)
    check_alike("draw_colour_lines", bands.shape, image, prior)
    if planes != 5 or not lines.contiguous or not bands.contiguous:
        raise ValueError(f"draw_colour_lines: lines {lines.shape} must be five planes, contiguous like the trimap")
    check_resize("draw_colour_lines", (small[0], small[1]), (height, width))
    out = device.empty((height, width), np.float32)
    grid = (blocks(width, 32), blocks(height, 8), 1)
    source = (lines, image, image.row_bytes, prior, prior.row_bytes, bands, out)
    device.launch("colour_lines", grid, (32, 8, 1), *source, height, width, *small)
    return out
