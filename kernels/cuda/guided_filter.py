"""The fast guided filter on the device."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.box_filter import COLOUR, GREY, box_mean
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_resize


def guided_filter(
    device: Device, guide: DeviceArray, target: DeviceArray, radius: float, eps: float, subsample: int = 1
) -> DeviceArray:
    """Filter `target` so that it is locally a linear function of `guide`; float32 (H, W).

    The arguments are those of `mattemill.kernels.guided_filter.guided_filter`: guide uint8 or float32, (H, W) or
    (H, W, 3); target float32 (H, W). Both may be views.

    Tolerance: 2e-3 at eps 1e-4 and 2e-4 at 1e-2, against float64 and against the NumPy version.
    """
    if subsample < 1:
        raise ValueError(f"subsample = {subsample}: must be at least 1")
    height, width = check("guided_filter", target, np.float32, 2).shape
    if guide.shape[:2] != (height, width):
        raise ValueError(f"guide {guide.shape} and target {target.shape} are not of one size")
    channels = 1 if len(guide.shape) == 2 else guide.shape[2]
    if guide.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)) or channels not in (1, 3):
        raise ValueError(
            f"guided_filter: a guide is uint8 or float32 with 1 or 3 channels, got {guide.dtype} {guide.shape}"
        )
    kind = "bytes" if guide.dtype == np.uint8 else "floats"
    size = blocks(height, subsample), blocks(width, subsample)
    check_resize("guided_filter", (height, width), size)
    planes = device.empty((channels + 1, *size), np.float32)
    device.launch(
        f"guided_reduce_{kind}",
        (blocks(size[1], 32), blocks(size[0], 8), 1),
        (32, 8, 1),
        *(guide, guide.row_bytes, target, target.row_bytes, planes),
        *(height, width, *size, channels),
    )
    reach = max(0, round(radius / subsample))
    means = box_mean(device, planes, reach, layout=GREY if channels == 1 else COLOUR)
    lines = device.empty((channels + 1, *size), np.float32)
    plane = size[0] * size[1]
    solve = "guided_solve_grey" if channels == 1 else "guided_solve_colour"
    device.launch(solve, (blocks(plane, 256), 1, 1), (256, 1, 1), means, lines, plane, float(eps))
    lines = box_mean(device, lines, reach)
    out = device.empty((height, width), np.float32)
    device.launch(
        f"guided_apply_{kind}",
        (blocks(width, 32), blocks(height, 8), 1),
        (32, 8, 1),
        *(guide, guide.row_bytes, lines, out, height, width, *size, channels),
    )
    return out
