"""Closed-form matting on a small copy of the photograph, on the device: the colour lines that draw it at full size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mattemill.kernels.cuda.conjugate_gradients import FRAME, PAIRS, conjugate_gradients
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_resize

# As in mattemill.kernels.closed_form.
_EPSILON, _LINES_EPSILON = 1e-7, 1e-5
_COARSEST = 24
_FROM_NOTHING = 200
_TRUST = 3e-3

_BLOCK = (32, 8, 1)


@dataclass(frozen=True, slots=True)
class _Level:
    """One size of the pyramid.

    shape: (h, w), without the frame. iterations: at most. colours: float32 (3, h + 4, w + 4) in 0..1. bands: uint8 (h +
    4, w + 4) of 0, 128 and 255; 0 in the frame. free: int32 (1,), how many are 128. unknown: int32 (1,), where it is 0
    nothing is solved; None where that does not matter.
    """

    shape: tuple[int, int]
    iterations: int
    colours: DeviceArray
    bands: DeviceArray
    free: DeviceArray
    unknown: DeviceArray | None

    @property
    def framed(self) -> tuple[int, int]:
        """(h + 4, w + 4)."""
        return self.bands.shape[0], self.bands.shape[1]


def closed_form_lines(
    device: Device, image: DeviceArray, trimap: DeviceArray, step: int = 4, iterations: int = 20
) -> DeviceArray:
    """Colour lines of the closed-form matte of 1/step of the photograph: float32 (5, ceil(H / step), ceil(W / step)).

    As `mattemill.kernels.closed_form.closed_form_lines` says and does. image: uint8 (H, W, 3). trimap: uint8 (H, W) of
    0, 128 and 255. Both may be views. Raises ValueError when the two are not of one size, or too large to resize.

    Nothing comes back to the host and nothing is waited for: some 150 launches for a photograph of 1,600 px at a
    quarter. Memory: some 160 bytes for each pixel of the small copy. The sums of conjugate gradients are in a fixed
    order, so every run gives the same bits.

    Tolerance of the alpha that the lines draw: 2e-3 against float64, once solved; 1e-4 against the NumPy version where
    the photograph has noise of some grey levels, 1e-3 on clean ground that changes slowly.
    """
    height, width, channels = check("closed_form_lines", image, np.uint8, 3).shape
    if channels != 3 or check("closed_form_lines", trimap, np.uint8, 2).shape != (height, width):
        raise ValueError(f"image {image.shape} and trimap {trimap.shape} are not of one size")
    if step < 1:
        raise ValueError(f"step = {step}: must be at least 1")
    *finer, coarsest = _pyramid(device, image, trimap, step, iterations)
    lines = _solved(device, coarsest, None)
    for level in reversed(finer):
        lines = _solved(device, level, lines)
    return lines


def _pyramid(device: Device, image: DeviceArray, trimap: DeviceArray, step: int, iterations: int) -> list[_Level]:
    """Finest first."""
    full = (trimap.shape[0], trimap.shape[1])
    sizes = [(blocks(full[0], step), blocks(full[1], step))]
    while min(sizes[-1]) >= 2 * _COARSEST:
        sizes.append((blocks(sizes[-1][0], 2), blocks(sizes[-1][1], 2)))
    check_resize("closed_form_lines", full, sizes[0])
    counts = device.zeros((len(sizes) + 1, 1), np.int32)
    levels: list[_Level] = []
    for number, size in enumerate(sizes):
        last = number == len(sizes) - 1
        framed = (size[0] + 2 * FRAME, size[1] + 2 * FRAME)
        level = _Level(
            shape=size,
            iterations=max(iterations << number, _FROM_NOTHING if last else 0),
            colours=device.empty((3, *framed), np.float32),
            bands=device.empty(framed, np.uint8),
            free=counts.part(number),
            unknown=None if number else counts.part(len(sizes)),
        )
        to = (level.colours, level.bands, level.free)
        if number:
            above = levels[-1]
            check_resize("closed_form_lines", above.shape, size)
            arrays = (above.colours, above.bands, *to)
            device.launch("closed_form_halve", _grid(framed), _BLOCK, *arrays, *above.shape, *size)
        else:
            source = (image, image.row_bytes, trimap, trimap.row_bytes)
            device.launch("closed_form_reduce", _grid(framed), _BLOCK, *source, *to, level.unknown, *full, *size)
        levels.append(level)
    return levels


def _solved(device: Device, level: _Level, below: DeviceArray | None) -> DeviceArray:
    """The lines (5, h, w) of a level, from those of the one below."""
    size, grid = level.shape, _grid(level.framed)
    alpha = device.empty(level.framed, np.float32)
    lower = (below.shape[1], below.shape[2]) if below is not None else (1, 1)
    device.launch("closed_form_draw", grid, _BLOCK, below, level.colours, level.bands, alpha, *lower, *size)
    lines = device.empty((5, *size), np.float32)
    if min(size) < 3:
        source = (alpha, level.free, level.unknown)
        device.launch("closed_form_without_windows", _grid(size), _BLOCK, *source, lines, *size)
        return lines
    pairs = _laplacian(device, level)
    conjugate_gradients(device, pairs, level.bands, level.free, alpha, level.iterations, _TRUST)
    fits = device.empty((5, *level.framed), np.float32)
    source = (level.colours, level.bands, level.unknown)
    device.launch("closed_form_fit", grid, _BLOCK, *source, alpha, fits, *size, _LINES_EPSILON)
    device.launch("closed_form_average", _grid(size), _BLOCK, fits, lines, *size)
    return lines


def _laplacian(device: Device, level: _Level) -> DeviceArray:
    """What the matting Laplacian has off its diagonal, for `conjugate_gradients`: float32 (12, h + 4, w + 4)."""
    size, grid = level.shape, _grid(level.framed)
    inverses = device.empty((6, *level.framed), np.float64)
    means = device.empty((3, *level.framed), np.float32)
    source = (level.colours, level.bands, level.unknown)
    device.launch("closed_form_windows", grid, _BLOCK, *source, inverses, means, *size, _EPSILON)
    pairs = device.empty((PAIRS, *level.framed), np.float32)
    device.launch("closed_form_pairs", grid, _BLOCK, level.colours, inverses, means, pairs, *size)
    return pairs


def _grid(size: tuple[int, int]) -> tuple[int, int, int]:
    return blocks(size[1], _BLOCK[0]), blocks(size[0], _BLOCK[1]), 1
