"""Photographs, or many windows of many photographs, as the tensor that a network reads, in a few launches.

The filters are those of the NumPy version: Pillow's Lanczos on the means of small blocks, OpenCV's linear and area.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks
from mattemill.kernels.cuda.planes import LINEAR, Job, area_filter, normalise, resize_planes, upload_jobs
from mattemill.kernels.network_input import Resample

_TAPS = 20  # network_input.cu


def network_input(
    device: Device,
    images: Sequence[DeviceArray],
    size: tuple[int, int],
    *,
    divisor: float | None,
    mean: Sequence[float],
    std: Sequence[float],
    bgr: bool = False,
    resample: Resample = "lanczos",
    dtype: npt.DTypeLike = np.float32,
) -> DeviceArray:
    """(resized / divisor - mean) / std as (N, 3, h, w), float32 or float16; the ratio is not kept.

    images: uint8 (H, W, 3), each of its own size; views with any row stride. The other arguments are those of
    `mattemill.kernels.network_input.network_input`; mean and std are in the order of the network's channels.

    Tolerance: the bytes before normalisation are within 1 grey level of the NumPy version's. On noise 1 in 500
    differs with Lanczos; with linear and enlarging area 1 in 7, because OpenCV's weights are coarse.
    """
    whole = [(index, (0, 0, image.shape[1], image.shape[0])) for index, image in enumerate(images)]
    return crop_resize(
        device, images, whole, size, divisor=divisor, mean=mean, std=std, bgr=bgr, resample=resample, dtype=dtype
    )


def crop_resize(
    device: Device,
    images: Sequence[DeviceArray],
    windows: Sequence[tuple[int, Window]],
    size: tuple[int, int],
    *,
    divisor: float | None,
    mean: Sequence[float],
    std: Sequence[float],
    bgr: bool = False,
    resample: Resample = "lanczos",
    dtype: npt.DTypeLike = np.float32,
) -> DeviceArray:
    """`network_input` of windows: (index of the image, (x0, y0, x1, y1)) each; (N, 3, h, w) in their order.

    Raises ValueError when a window is empty or leaves its image.
    """
    if not windows:
        return device.empty((0, 3, *size), dtype)
    sources = [images[index].window(*window) for index, window in windows]
    if resample == "lanczos":
        planes, peaks = _lanczos(device, sources, size, bgr)
    else:
        jobs = [Job(s, size, (0, 0), LINEAR if resample == "linear" else area_filter(s.shape, size)) for s in sources]
        table = upload_jobs(device, jobs, "network_input")
        planes, peaks = resize_planes(device, table, size, fill=0, bgr=bgr)
    return normalise(device, planes, peaks, divisor=divisor, mean=mean, std=std, dtype=dtype)


def _lanczos(
    device: Device, sources: Sequence[DeviceArray], size: tuple[int, int], bgr: bool
) -> tuple[DeviceArray, DeviceArray]:
    """uint8 (N, 3, h, w), and the largest byte of each."""
    height, width = size
    jobs: list[Job] = []
    blocks_at = rows_at = tallest = widest = 0
    for source in sources:
        steps = _block(source.shape[0] / height), _block(source.shape[1] / width)
        down, across = blocks(source.shape[0], steps[0]), blocks(source.shape[1], steps[1])
        jobs.append(Job(source, size, steps=steps, blocks_at=blocks_at, rows_at=rows_at))
        blocks_at += 3 * down * across
        rows_at += 3 * down * width
        tallest, widest = max(tallest, down), max(widest, across)
    if max(blocks_at, rows_at) >= 2**31:
        raise ValueError(f"network_input: {len(jobs)} windows at once need more than 2 GiB between the passes")
    table = upload_jobs(device, jobs, "network_input")
    count, longest = len(jobs), max(size)
    weights = device.empty((count, 2, longest, _TAPS), np.float32)
    firsts, counts = device.empty((count, 2, longest), np.int32), device.empty((count, 2, longest), np.int32)
    means, rows = device.empty((blocks_at,), np.uint8), device.empty((rows_at,), np.uint8)
    planes, peaks = device.empty((count, 3, height, width), np.uint8), device.zeros((count,), np.int32)
    taps = (weights, firsts, counts, longest)
    device.launch("lanczos_taps", (blocks(longest, 128), 2, count), (128, 1, 1), table, *taps)
    grid = (blocks(widest, 32), blocks(tallest, 8), count)
    device.launch("lanczos_blocks", grid, (32, 8, 1), table, means)
    grid = (blocks(width, 32), blocks(tallest, 8), count)
    device.launch("lanczos_rows", grid, (32, 8, 1), table, means, rows, *taps)
    grid = (blocks(width, 32), blocks(height, 8), count)
    device.launch("lanczos_columns", grid, (32, 8, 1), table, rows, planes, peaks, *taps, int(bgr))
    return planes, peaks


def _block(reduction: float) -> int:
    """As in the NumPy version: the largest power of two that leaves at least 1.5 of a reduction; 1 below 3."""
    return 2 ** max(0, math.floor(math.log2(reduction / 1.5))) if reduction >= 3 else 1
