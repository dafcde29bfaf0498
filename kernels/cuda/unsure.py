"""Where a mask on the device is unsure: two counts come back, everything else stays."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.box_filter import box_share
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_alike
from mattemill.kernels.unsure import HIGH, LOW

_ROWS_AT_ONCE = 16  # each block goes over every 16th row or so, so that few atomic additions are made


def unsure_counts(device: Device, soft: DeviceArray, low: float, high: float) -> tuple[int, int]:
    """As `mattemill.kernels.unsure.unsure_counts`, exactly. soft: float32 (H, W), or a view. Waits for the device."""
    height, width = check("unsure_counts", soft, np.float32, 2).shape
    counts = device.zeros((2,), np.int32)
    grid = (blocks(width, 1024), blocks(height, _ROWS_AT_ONCE), 1)
    source = (soft, soft.row_bytes, counts, height, width)
    device.launch("unsure_counts", grid, (256, 1, 1), *source, float(low), float(high))
    sure, unsure = device.download(counts).tolist()
    return sure, unsure


def unsure_around(device: Device, soft: DeviceArray, radius: int) -> DeviceArray:
    """As `mattemill.kernels.unsure.unsure_around`, to the bit; float32 (H, W), a view.

    To the bit, because shares of exactly the least that asks for the network are common (a fifth of (2 * radius + 1)^2
    is a whole number at every fifth radius): were some of them a little more, other pixels would be asked for, and the
    network's tiles lie elsewhere. soft: float32 (H, W), or a view. radius: pixels, at most 2,047.
    """
    height, width = check("unsure_around", soft, np.float32, 2).shape
    size = (height + 2 * radius, width + 2 * radius)
    plane = device.empty((1, *size), np.float32)
    grid = (blocks(size[1], 32), blocks(size[0], 8), 1)
    source = (soft, soft.row_bytes, plane, height, width)
    device.launch("unsure_plane", grid, (32, 8, 1), *source, radius, LOW, HIGH)
    # With the mirrored margin around it, no square that counts is cut off.
    around = box_share(device, plane, radius).part(0)
    return around.window(radius, radius, radius + width, radius + height)


def unsure_share(
    device: Device, around: DeviceArray, bands: DeviceArray, least: float, most: float
) -> tuple[DeviceArray, DeviceArray]:
    """`mattemill.kernels.unsure.unsure_share`, to the bit, and where it is more than nothing in the unknown band.

    around: float32 (H, W), or a view. bands: uint8 (H, W) of 0, 128 and 255, contiguous. Returns float32 (H, W) in 0..1
    and uint8 (H, W) of 0 and 1, both contiguous.
    """
    height, width = check("unsure_share", around, np.float32, 2).shape
    check_alike("unsure_share", around.shape, check("unsure_share", bands, np.uint8, 2))
    if not bands.contiguous:
        raise ValueError("unsure_share: the trimap must be contiguous")
    share, asked = device.empty((height, width), np.float32), device.empty((height, width), np.uint8)
    grid = (blocks(width, 32), blocks(height, 8), 1)
    source = (around, around.row_bytes, bands, share, asked, height, width)
    device.launch("unsure_share", grid, (32, 8, 1), *source, float(least), 1 / (most - least))
    return share, asked
