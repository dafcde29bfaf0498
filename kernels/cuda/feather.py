"""Edge feather on the device: a Gaussian, or three box filters for a wide one."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.box_filter import box_mean
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check
from mattemill.kernels.feather import _BOXES_FROM, _box_sides

_LINE = 128  # feather.cu


def feather(device: Device, alpha: DeviceArray, radius: float) -> DeviceArray:
    """Alpha blurred with a Gaussian of sigma radius / 2, float32 (H, W) in 0..1; the input itself when radius is 0.

    alpha: float32 (H, W) in 0..1, contiguous. As `mattemill.kernels.feather.feather`, which leaves out what is further
    than 3 sigma from the subject: tolerance 2e-3.
    """
    if radius <= 0:
        return alpha
    height, width = check("feather", alpha, np.float32, 2).shape
    sigma = radius / 2
    if sigma >= _BOXES_FROM:
        planes = alpha.reshape(1, height, width)
        for side in _box_sides(sigma):
            planes = box_mean(device, planes, side // 2, repeat_edge=True)
        return planes.reshape(height, width)
    reach = (round(sigma * 8 + 1) | 1) // 2  # OpenCV's size of the kernel for floats
    source = alpha
    for vertical in (0, 1):
        out = device.empty((height, width), np.float32)
        device.launch(
            "feather_axis",
            (height, blocks(width, _LINE), 1),
            (_LINE, 1, 1),
            *(source, source.row_bytes, out, height, width, reach, sigma, vertical),
            shared=(2 * reach + 1 + _LINE + 2 * reach) * 4,
        )
        source = out
    return source
