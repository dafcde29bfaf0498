"""PNG's Up filter on the device, so that the CPU only deflates."""

from __future__ import annotations

import math

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check


def png_up(device: Device, pixels: DeviceArray) -> DeviceArray:
    """Filtered rows, uint8 (H, 1 + W * C): byte for byte those of `mattemill.kernels.png_up.png_up`.

    pixels: uint8 (H, W) or (H, W, C), or a view.
    """
    height = check("png_up", pixels, np.uint8, 2, 3).shape[0]
    length = math.prod(pixels.shape[1:])
    out = device.empty((height, 1 + length), np.uint8)
    grid = (blocks(out.size, 4 * 256), 1, 1)
    device.launch("png_up_rows", grid, (256, 1, 1), pixels, pixels.row_bytes, out, height, length)
    return out
