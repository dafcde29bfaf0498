"""Random fields: fractal noise, smooth displacement and a smooth warp."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def fractal(
    rng: np.random.Generator, size: int, cells: int = 4, octaves: int = 5, gain: float = 0.5, aspect: float = 1.0
) -> Floats:
    """Sum of octaves of smooth noise, stretched to 0..1: float32 (size, size).

    cells: of the coarsest octave along a side. gain: weight of an octave against the one before. aspect: how much
    longer the cells are across than down.
    """
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        down = min(size, max(2, round(cells * 2**octave)))
        across = min(size, max(2, round(cells * 2**octave / aspect)))
        grid = rng.random((down, across), np.float32)
        total += weight * np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
        weight *= gain
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def smooth(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """One octave of smooth noise of about unit deviation: float32 (size, size)."""
    grid = rng.standard_normal((max(2, cells), max(2, cells)), np.float32)
    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def warped(rng: np.random.Generator, image: Floats, amount: float, cells: int) -> Floats:
    """The image moved about by a smooth displacement of `amount` pixels (deviation): float32, the same shape."""
    size = image.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    columns += amount * smooth(rng, size, cells)
    rows += amount * smooth(rng, size, cells)
    way = cv2.BORDER_REFLECT_101
    return np.asarray(
        cv2.remap(np.asarray(image, np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=way), np.float32
    )
