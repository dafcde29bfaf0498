"""Conjugate gradients on a framed picture on the device, from the first step to the last without the host."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check

FRAME = 2  # framed.cuh: px around a picture, on each side
PAIRS = 12  # framed.cuh: neighbours after a pixel and within the frame's width of it

_TILE = (32, 8, 1)  # conjugate_gradients.cu: of a block
_LARGEST_BLOCK = 1024
_SMALL_PIXELS = 16_384  # one block solves it: an estimate of where two launches a step begin to be sooner done


def conjugate_gradients(
    device: Device,
    pairs: DeviceArray,
    bands: DeviceArray,
    free: DeviceArray,
    alpha: DeviceArray,
    iterations: int,
    trust: float,
) -> None:
    """Solve for the free pixels of `alpha` in place, from where it is, with Jacobi's preconditioner.

    The matrix has rows that sum to 0, and `trust` on its diagonal in where alpha begins: see conjugate_gradients.cu. It
    ends where mattemill.kernels.closed_form does. All arrays but `free` are of a picture of (h, w) with a frame of 2
    pixels, contiguous.

    pairs: float32 (12, h + 4, w + 4), what the matrix has off its diagonal, by framed.cuh; 0 wherever the frame is part
    of it. bands: uint8 (h + 4, w + 4), 128 where a pixel is free. free: int32 (1,), how many those are. alpha: float32
    (h + 4, w + 4), finite; not clipped afterwards. iterations: at most.

    Nothing is waited for. Two launches a step, or one for all steps where the picture has up to 16,384 pixels. Memory:
    20 bytes a pixel.
    """
    rows, columns = check("conjugate_gradients", alpha, np.float32, 2).shape
    height, width = rows - 2 * FRAME, columns - 2 * FRAME
    if min(height, width) < 1:
        raise ValueError(f"conjugate_gradients: alpha {alpha.shape} is all frame")
    if (
        check("conjugate_gradients", pairs, np.float32, 3).shape != (PAIRS, rows, columns)
        or check("conjugate_gradients", bands, np.uint8, 2).shape != (rows, columns)
        or check("conjugate_gradients", free, np.int32, 1).shape != (1,)
        or not (alpha.contiguous and pairs.contiguous and bands.contiguous)
    ):
        raise ValueError(
            f"conjugate_gradients: pairs {pairs.shape}, bands {bands.shape} and free {free.shape} do not go with alpha "
            f"{alpha.shape}, or are views"
        )
    small = height * width <= _SMALL_PIXELS
    grid = (blocks(width, _TILE[0]), blocks(height, _TILE[1]), 1)
    tiles = grid[0] * grid[1]
    # What is not free, and the frame, is 0 in all of them and stays so.
    vectors = device.zeros((4 if small else 5, rows, columns), np.float32)
    inverse, residual, image, *along = (vectors.part(number) for number in range(vectors.shape[0]))
    powers = device.empty((tiles,), np.float64)
    size = (height, width)
    device.launch("gradients_begin", grid, _TILE, pairs, bands, alpha, inverse, residual, powers, *size, trust)
    if small:
        device.launch(
            "gradients_small",
            (1, 1, 1),
            (min(_LARGEST_BLOCK, 32 * max(2, blocks(height * columns, 32))), 1, 1),
            *(pairs, inverse, residual, along[0], image, alpha, powers, free, tiles, iterations, *size, trust),
        )
        return
    scalars, bends = device.empty((2,), np.float64), device.empty((2, tiles), np.float64)
    ended = device.zeros((2,), np.int32)
    for step in range(iterations):
        before, now = along[(step + 1) % 2], along[step % 2]
        device.launch(
            "gradients_turn",
            grid,
            _TILE,
            *(pairs, inverse, residual, before, now, image, powers, scalars, bends, ended, step, *size, trust),
        )
        device.launch(
            "gradients_step",
            grid,
            _TILE,
            *(alpha, residual, inverse, now, image, scalars, bends, powers, free, ended, step, *size),
        )
