"""The matte of a trimap and of what a filter found in its band, on the device."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check


def band_matte(
    device: Device, bands: DeviceArray, filtered: DeviceArray, window: Window, sure: float = 0.0
) -> DeviceArray:
    """float32 (H, W) in 0..1: 1 where `bands` is 255, 0 where it is 0, and in between `filtered`, clipped.

    bands: uint8 (H, W) of 0, 128 and 255, contiguous. filtered: float32 (h, w) of the window (x0, y0, x1, y1), or a
    view. sure: below 0.5; what lies `sure` or less from 0 or 1 becomes that, and the rest is stretched. What is unknown
    outside the window becomes 0. As NumPy would in float32.
    """
    height, width = check("band_matte", bands, np.uint8, 2).shape
    x0, y0, x1, y1 = window
    if check("band_matte", filtered, np.float32, 2).shape != (y1 - y0, x1 - x0):
        raise ValueError(f"band_matte: filtered {filtered.shape} is not of the window {window}")
    if not bands.contiguous or not 0 <= sure < 0.5:
        raise ValueError(f"band_matte: bands must be contiguous, and sure = {sure} in 0..0.5")
    out = device.empty((height, width), np.float32)
    grid = (blocks(width, 32), blocks(height, 8), 1)
    source = (bands, filtered, filtered.row_bytes, out, height, width)
    device.launch("band_matte", grid, (32, 8, 1), *source, *window, float(sure), 1 / (1 - 2 * sure))
    return out
