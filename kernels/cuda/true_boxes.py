"""Boxes around the true pixels of windows of a mask on the device: some bytes come back instead of the mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check

_JOB = np.dtype([("window", np.int32, 4), ("box", np.int32, 4)])
_NOTHING = (np.iinfo(np.int32).max, np.iinfo(np.int32).max, -1, -1)
_ROWS = 64  # of a block of 8 warps, so that few atomic operations are made


def true_boxes(device: Device, mask: DeviceArray, windows: Sequence[Window]) -> list[Window | None]:
    """For each window (x0, y0, x1, y1) the smallest one that holds its true pixels; None where there are none.

    mask: uint8 (H, W), contiguous, true where it is not 0. What comes back, in one copy, is 32 bytes a window. Raises
    ValueError for a window that leaves the mask; an empty one holds nothing.
    """
    height, width = check("true_boxes", mask, np.uint8, 2).shape
    if not mask.contiguous:
        raise ValueError("true_boxes: the mask must be contiguous")
    for x0, y0, x1, y1 in windows:
        if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
            raise ValueError(f"true_boxes: window {(x0, y0, x1, y1)} leaves the mask of {width}x{height}")
    if not windows:
        return []
    table = np.empty(len(windows), _JOB)
    table["window"], table["box"] = windows, _NOTHING
    jobs = device.upload(table)
    tallest = max(window[3] - window[1] for window in windows)
    device.launch("true_boxes", (len(windows), blocks(tallest, _ROWS), 1), (32, 8, 1), mask, jobs, width)
    boxes = device.download(jobs)["box"].tolist()
    return [None if right < 0 else (left, top, right + 1, bottom + 1) for left, top, right, bottom in boxes]
