"""The subject's own colours on the device: multi-level estimation, and the closed form at full size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_resize

_SOLVED_PIXELS = 400_000  # as in mattemill.kernels.foreground
_SMALL, _SWEEPS = 32, 6
_LEVEL = np.dtype([(name, np.int32) for name in ("height", "width", "at", "unused")])


@dataclass(frozen=True, slots=True)
class _Level:
    """One size of the pyramid. image: uint8 (h, w, 3), alpha: float32 (h, w), both parts of one allocation.

    at: its first pixel there, counted from the solved size's.
    """

    image: DeviceArray
    alpha: DeviceArray
    at: int


def estimate_foreground(device: Device, image: DeviceArray, alpha: DeviceArray) -> DeviceArray:
    """Foreground colours F of image = alpha * F + (1 - alpha) * B, uint8 (H, W, 3).

    image: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1. Both may be views. As
    `mattemill.kernels.foreground.estimate_foreground`.

    Tolerance: 3 of 255, in 99 of 100 values 1 (OpenCV enlarges bytes with weights of 11 bits). All levels up to 32
    pixels are one launch; each finer one is 13.
    """
    height, width, channels = check("estimate_foreground", image, np.uint8, 3).shape
    if channels != 3 or check("estimate_foreground", alpha, np.float32, 2).shape != (height, width):
        raise ValueError(f"estimate_foreground: image {image.shape} and alpha {alpha.shape} do not go together")
    step = max(1, round(math.sqrt(height * width / _SOLVED_PIXELS)))
    levels = _pyramid(device, image, alpha, step)
    colours = _solve(device, levels)
    front, back = (device.empty((height, width, 3), np.uint8) for _ in range(2))
    grid, threads = (blocks(width, 32), blocks(height, 8), 1), (32, 8, 1)
    source = (image, image.row_bytes, alpha, alpha.row_bytes)
    small = levels[0].alpha.shape
    further = int(step > 1)
    device.launch("foreground_close", grid, threads, *source, colours, front, back, height, width, *small, further)
    if not further:
        return front
    out = device.empty((height, width, 3), np.uint8)
    device.launch("foreground_sharpen", grid, threads, *source, front, back, out, height, width)
    return out


def _pyramid(device: Device, image: DeviceArray, alpha: DeviceArray, step: int) -> list[_Level]:
    """From the solved size to one pixel, finest first."""
    sizes = [(blocks(alpha.shape[0], step), blocks(alpha.shape[1], step))]
    while max(sizes[-1]) > 1:
        sizes.append((blocks(sizes[-1][0], 2), blocks(sizes[-1][1], 2)))
    check_resize("estimate_foreground", alpha.shape, sizes[0])
    images = device.empty((sum(h * w for h, w in sizes), 3), np.uint8)
    alphas = device.empty((images.shape[0],), np.float32)
    levels: list[_Level] = []
    at = 0
    for height, width in sizes:
        small = DeviceArray(images.memory, images.pointer + 3 * at, (height, width, 3), images.dtype, 3 * width)
        mix = DeviceArray(alphas.memory, alphas.pointer + 4 * at, (height, width), alphas.dtype, 4 * width)
        grid = (blocks(width, 32), blocks(height, 8), 1)
        source = (image, image.row_bytes, alpha, alpha.row_bytes)
        device.launch("foreground_reduce", grid, (32, 8, 1), *source, small, mix, *alpha.shape, height, width)
        levels.append(_Level(small, mix, at))
        image, alpha, at = small, mix, at + height * width
    return levels


def _solve(device: Device, levels: list[_Level]) -> DeviceArray:
    """Colours of the finest level, float32 (h, w, 6)."""
    finest = levels[0]
    pixels = finest.alpha.size
    sums = device.zeros((8,), np.int32)
    grid = (min(256, blocks(pixels, 256)), 1, 1)
    device.launch("foreground_means", grid, (256, 1, 1), finest.image, finest.alpha, sums, pixels)
    first = next(k for k, level in enumerate(levels) if max(level.alpha.shape) <= _SMALL)
    small = levels[first:]
    table = np.array([(*level.alpha.shape, level.at, 0) for level in small], _LEVEL)
    colours = device.empty((*small[0].alpha.shape, 6), np.float32)
    above = small[1].alpha.size if len(small) > 1 else 1
    device.launch(
        "foreground_small",
        (1, 1, 1),
        (256, 1, 1),
        *(device.upload(table), len(small), finest.image, finest.alpha, sums, colours),
        shared=24 * (small[0].alpha.size + above),
    )
    for level in reversed(levels[:first]):
        height, width = level.alpha.shape
        finer = device.empty((height, width, 6), np.float32)
        grid = (blocks(6 * width, 256), height, 1)
        device.launch("foreground_enlarge", grid, (256, 1, 1), colours, finer, *colours.shape[:2], height, width)
        grid = (blocks(blocks(width, 2), 32), blocks(height, 8), 1)
        for half in (0, 1) * _SWEEPS:
            device.launch("foreground_sweep", grid, (32, 8, 1), level.image, level.alpha, finer, height, width, half)
        colours = finer
    return colours
