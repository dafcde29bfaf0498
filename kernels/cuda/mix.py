"""Mattes on the device, mixed with each other and with their mask."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_alike


def mix(
    device: Device, matte: DeviceArray, other: DeviceArray, share: DeviceArray, soft: DeviceArray, done: float
) -> DeviceArray:
    """matte + share * (other - matte), and of that `done` parts to 1 - done of `soft`; float32 (H, W), as NumPy would.

    matte, other, share: float32 (H, W) in 0..1, contiguous. soft: float32 (H, W), or a view. done: 0..1.
    """
    height, width = check("mix", matte, np.float32, 2).shape
    for plane in (other, share, soft):
        check("mix", plane, np.float32, 2)
    check_alike("mix", matte.shape, other, share, soft)
    if not (matte.contiguous and other.contiguous and share.contiguous):
        raise ValueError("mix: mattes and shares must be contiguous")
    out = device.empty((height, width), np.float32)
    grid = (blocks(width, 32), blocks(height, 8), 1)
    device.launch("mix", grid, (32, 8, 1), matte, other, share, soft, soft.row_bytes, out, height, width, float(done))
    return out
