"""A trimap from a soft mask on the device."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check

_LEVELS = tuple(255 * (0.25 + 0.5 * step / 3) for step in (1, 2, 3))  # as in mattemill.kernels.trimap
_LARGEST_BLOCK = 8
_STRIP = 128  # trimap.cu
_SHARED = 48 * 1024


def trimap(device: Device, alpha: DeviceArray, radius: float, low: float = 0.05, high: float = 0.95) -> DeviceArray:
    """0, 128 and 255 as uint8 (H, W); what is unknown is what `mattemill.kernels.trimap.trimap` says, pixel by pixel.

    alpha: float32 (H, W) in 0..1, or a view. radius: pixels, at least 0.
    """
    height, width = check("trimap", alpha, np.float32, 2).shape
    whole = max(0, round(radius))
    block = min(_LARGEST_BLOCK, max(1, whole // 8))
    reach = blocks(whole, block)
    rows, columns = blocks(height, block), blocks(width, block)
    furthest = min(2 * reach, max(rows, columns))
    if (_STRIP + 2 * furthest) * 4 > _SHARED:
        raise ValueError(f"trimap: radius = {radius} is more than the kernel holds: {_SHARED // 16 * block} pixels")
    seeds, soft, band = (device.empty((rows, columns), np.uint8) for _ in range(3))
    sums, radii, reaching = (device.empty((rows, columns), np.int32) for _ in range(3))
    threads = (32, 8, 1)
    grid = (blocks(columns, 32), blocks(rows, 8), 1)
    source = (alpha, alpha.row_bytes)
    size = (rows, columns)
    device.launch("trimap_cells", grid, threads, *source, seeds, soft, height, width, *size, block, low, high)
    device.launch("trimap_soft_rows", grid, threads, soft, sums, *size, reach)
    wider = (round(reach * step / 3) for step in (1, 2, 3))
    device.launch("trimap_radii", grid, threads, seeds, sums, radii, *size, reach, *wider, *_LEVELS)
    strips = (rows, blocks(columns, _STRIP), 1)
    shared = (_STRIP + 2 * furthest) * 4
    device.launch("trimap_spread_rows", strips, (_STRIP, 1, 1), radii, reaching, columns, furthest, shared=shared)
    device.launch("trimap_spread_columns", grid, threads, reaching, band, *size, furthest)
    out = device.empty((height, width), np.uint8)
    full = (blocks(width, 32), blocks(height, 8), 1)
    device.launch("trimap_paint", full, threads, *source, band, out, height, width, columns, block)
    return out
