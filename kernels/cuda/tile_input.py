"""The matting network's input on the device: tiles of one size, of one photograph, in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_alike
from mattemill.kernels.tile_input import CHANNELS


def tile_input(
    device: Device,
    image: DeviceArray,
    soft: DeviceArray,
    bands: DeviceArray,
    guess: DeviceArray,
    windows: Sequence[Window],
    step: int,
) -> DeviceArray:
    """float32 (N, 7, h / step, w / step): `mattemill.kernels.tile_input.tile_input` of windows that it cuts out.

    image: uint8 (H, W, 3). soft: float32 (H, W) in 0..1. Both may be views. bands: uint8 (H, W) of 0, 128 and 255;
    guess: float32 (H, W) in 0..1; both contiguous. windows: N of one size (w, h), sides multiples of step; they may
    leave the frame, whose last pixels are repeated there. Tolerance: 1e-5.
    """
    height, width = check("tile_input", bands, np.uint8, 2).shape
    check("tile_input", image, np.uint8, 3)
    check("tile_input", soft, np.float32, 2)
    check("tile_input", guess, np.float32, 2)
    check_alike("tile_input", bands.shape, image, soft, guess)
    if not bands.contiguous or not guess.contiguous:
        raise ValueError("tile_input: trimap and guess must be contiguous")
    (size,) = {(bottom - top, right - left) for left, top, right, bottom in windows}
    if size[0] % step or size[1] % step:
        raise ValueError(f"tile_input: windows of {size} are no multiple of {step} px")
    rows, columns = size[0] // step, size[1] // step
    out = device.empty((len(windows), CHANNELS, rows, columns), np.float32)
    corners = device.upload(np.array([window[:2] for window in windows], np.int32))
    grid = (blocks(columns, 32), blocks(rows, 8), len(windows))
    source = (image, image.row_bytes, soft, soft.row_bytes, bands, guess, corners, out)
    device.launch("tile_input", grid, (32, 8, 1), *source, height, width, rows, columns, step)
    return out
