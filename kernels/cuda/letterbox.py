"""Letterbox and normalisation in one: photographs of any size to the tensor that a network reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.planes import AREA, LINEAR, Job, normalise, resize_planes, upload_jobs

Placed = tuple[float, tuple[int, int]]


def letterbox(
    device: Device,
    images: Sequence[DeviceArray],
    size: tuple[int, int],
    fill: int = 114,
    *,
    align: Literal["centre", "corner"] = "centre",
    divisor: float | None = 1.0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    bgr: bool = False,
    dtype: npt.DTypeLike = np.float32,
) -> tuple[DeviceArray, list[Placed]]:
    """(letterboxed / divisor - mean) / std as (N, 3, h, w), and for each image its scale and its (dx, dy).

    images: uint8 (H, W, 3), each of its own size; views with any row stride. The other arguments are those of
    `mattemill.kernels.letterbox.letterbox` and `network_input.network_input`. dtype: float32 or float16.

    Tolerance: the bytes before normalisation are within 1 grey level of the NumPy version's (enlarged noise: one in
    eight differs, because OpenCV's linear weights are coarse; the kernel is within 0.51 of float64).
    """
    jobs, placed = [], []
    for image in images:
        height, width = image.shape[:2]
        scale = min(size[0] / height, size[1] / width)
        shape = min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale)))
        dx, dy = ((size[1] - shape[1]) // 2, (size[0] - shape[0]) // 2) if align == "centre" else (0, 0)
        jobs.append(Job(image, shape, (dy, dx), AREA if scale < 1 else LINEAR))
        placed.append((scale, (dx, dy)))
    if not jobs:
        return device.empty((0, 3, *size), dtype), []
    planes, peaks = resize_planes(device, upload_jobs(device, jobs, "letterbox"), size, fill=fill, bgr=bgr)
    return normalise(device, planes, peaks, divisor=divisor, mean=mean, std=std, dtype=dtype), placed
