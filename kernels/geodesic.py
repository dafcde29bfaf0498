"""Geodesic distance: how far a pixel is from marked ones when colour edges are hills.

Criminisi, Sharp, Blake: GeoS, Geodesic Image Segmentation, ECCV 2008. Toivanen: New Geodesic Distance Transforms for
Gray-Scale Images, Pattern Recognition Letters 1996 (the raster scan).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_LEAST_GAIN = 1e-4  # a sweep that shortens no way by more than this share is the last


def geodesic_distance(
    features: npt.NDArray[Any], start: npt.NDArray[Any], step: float = 1.0, sweeps: int = 16
) -> npt.NDArray[np.float32]:
    """Length of the shortest way from the marked pixels to every pixel.

    features: float (h, w) or (h, w, c), what makes a step long: the length of a step between two of a pixel's eight
    neighbours is sqrt((step * pixels)^2 + |difference of their features|^2). start: float (h, w) or (k, h, w), 0 at
    marked pixels and inf elsewhere, or any value at least 0 as a head start to make up for (soft marks). The k maps
    share their features and cost little more than one. step: at least 0; 0 counts the hills alone. sweeps: at most so
    many passes down and up; ways with few turns take two. Returns float32 of start's shape; inf where nothing leads.

    Exact on the graph of eight neighbours once a sweep changes nothing. Within a row the scan is exact in one go: the
    way to column i from column j is the difference of two running sums, so that the best j is a running minimum.
    """
    values = np.asarray(features, np.float64)
    if values.ndim == 2:
        values = values[..., None]
    given = np.asarray(start, np.float64)
    if given.shape[-2:] != values.shape[:2]:
        raise ValueError(f"features {values.shape} and start {given.shape} are not of one size")
    # Rows first: each row of all k maps is one contiguous block.
    distance = np.ascontiguousarray(np.moveaxis(given.reshape(-1, *values.shape[:2]), 0, 1))
    across = _length(values[:, 1:] - values[:, :-1], step)
    down = _length(values[1:] - values[:-1], step)
    right = _length(values[1:, 1:] - values[:-1, :-1], step * np.sqrt(2.0))
    left = _length(values[1:, :-1] - values[:-1, 1:], step * np.sqrt(2.0))
    along = np.zeros(values.shape[:2])
    np.cumsum(across, axis=1, out=along[:, 1:])
    rows = range(len(distance))
    for sweep in range(max(1, sweeps)):
        before = distance.copy() if sweep else None
        for row in rows:
            if row:
                _step(distance[row], distance[row - 1], down[row - 1], right[row - 1], left[row - 1])
            _scan(distance[row], along[row])
        for row in reversed(rows):
            if row + 1 < len(distance):
                _step(distance[row], distance[row + 1], down[row], left[row], right[row])
            _scan(distance[row], along[row])
        if before is not None and not np.any(before > distance * (1 + _LEAST_GAIN)):
            break
    return np.moveaxis(distance, 1, 0).reshape(given.shape).astype(np.float32)


def _length(difference: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt((difference * difference).sum(axis=-1) + step * step))


def _step(
    row: npt.NDArray[np.float64],
    neighbour: npt.NDArray[np.float64],
    straight: npt.NDArray[np.float64],
    rightwards: npt.NDArray[np.float64],
    leftwards: npt.NDArray[np.float64],
) -> None:
    """Ways that come from the row beside, in place. rightwards: lengths of the steps that go one column up."""
    np.minimum(row, neighbour + straight, out=row)
    np.minimum(row[:, 1:], neighbour[:, :-1] + rightwards, out=row[:, 1:])
    np.minimum(row[:, :-1], neighbour[:, 1:] + leftwards, out=row[:, :-1])


def _scan(row: npt.NDArray[np.float64], along: npt.NDArray[np.float64]) -> None:
    """All ways within the row, in place."""
    np.minimum(row, np.minimum.accumulate(row - along, axis=1) + along, out=row)
    back = np.minimum.accumulate((row + along)[:, ::-1], axis=1)[:, ::-1]
    np.minimum(row, back - along, out=row)
