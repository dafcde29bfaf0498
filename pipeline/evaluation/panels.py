"""The small pictures of the report: the photograph, the truth, the result and where they differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from mattemill.kernels.compose import compose_over
from mattemill.pipeline.evaluation.datasets import Truth
from mattemill.pipeline.photo import Alpha, Rgb

_SIDE = 300  # px of the longer side: four of them beside each other fill a laptop's screen
_DETAIL_HEIGHT = 220  # px
_QUALITY = 82
_MISSING = np.array([0, 102, 255], np.float32)  # blue: the truth has it, the result does not
_EXTRA = np.array([255, 61, 0], np.float32)  # orange red: the result has it, the truth does not
_UNCOUNTED = np.array([128, 128, 128], np.float32)
_SQUARE = 8  # px of the chequerboard behind a cut-out


@dataclass(frozen=True, slots=True)
class Panels:
    """JPEG files of the same size.

    photo. truth, result: the cut-out on a chequerboard. error: the photograph, grey and pale; blue where alpha is too
    low, orange red where it is too high, the stronger the further; grey where the truth does not count.
    detail: the same of the worst place within the band, pixel for pixel; None for a hard truth or a small photograph.
    """

    photo: bytes
    truth: bytes
    result: bytes
    error: bytes
    detail: Panels | None = None


def draw_panels(image: Rgb, truth: Truth, found: Alpha) -> Panels:
    """image: uint8 (H, W, 3). found: the matte, float32 (H, W) in 0..1."""
    whole = _draw(image, truth, found, min(1.0, _SIDE / max(image.shape[:2])))
    if not truth.soft or max(image.shape[:2]) < 2 * _SIDE or not truth.band.any():
        return whole
    rows, columns = worst_place(np.abs(found - truth.alpha) * truth.band, (_DETAIL_HEIGHT, _SIDE))
    part = replace(
        truth,
        alpha=truth.alpha[rows, columns],
        counted=truth.counted[rows, columns] if truth.counted is not None else None,
        band=truth.band[rows, columns],
    )
    return replace(whole, detail=_draw(image[rows, columns], part, found[rows, columns], 1.0))


def worst_place(error: npt.NDArray[np.float32], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the window of `size` = (h, w), or as much of it as there is, that holds most of the error.

    error: float32 (H, W), at least 0.
    """
    height, width = min(size[0], error.shape[0]), min(size[1], error.shape[1])
    sums = cv2.integral(error, sdepth=cv2.CV_64F)
    held = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(held)), held.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _draw(image: Rgb, truth: Truth, found: Alpha, scale: float) -> Panels:
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = _shrunk(image, size)
    right, got = _shrunk(truth.alpha, size), _shrunk(found, size)
    # The error is taken at full size and then averaged: a fringe of one pixel must not cancel out.
    low = _shrunk(np.maximum(truth.alpha - found, 0), size)
    high = _shrunk(np.maximum(found - truth.alpha, 0), size)
    counted = np.ones(right.shape, np.float32)
    if truth.counted is not None:
        counted = _shrunk(truth.counted.astype(np.float32), size)
    return Panels(
        photo=_jpeg(small),
        truth=_jpeg(compose_over(small, right, _chequerboard(small.shape))),
        result=_jpeg(compose_over(small, got, _chequerboard(small.shape))),
        error=_jpeg(_error_map(small, low, high, counted)),
    )


def _error_map(
    image: Rgb, low: npt.NDArray[np.float32], high: npt.NDArray[np.float32], counted: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    out = np.repeat((150 + 0.38 * grey)[..., None], 3, axis=2)
    for error, colour in ((low * counted, _MISSING), (high * counted, _EXTRA)):
        weight = np.sqrt(np.clip(error, 0, 1))[..., None]  # the root lets faint errors show
        out = out * (1 - weight) + colour * weight
    out = out * counted[..., None] + _UNCOUNTED * (1 - counted[..., None])
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _chequerboard(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] // _SQUARE
    board = np.where((y + x) % 2, 204, 255).astype(np.uint8)
    return np.repeat(board[..., None], 3, axis=2)


def _shrunk(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    if (values.shape[1], values.shape[0]) == size:
        return values
    return np.asarray(cv2.resize(np.ascontiguousarray(values), size, interpolation=cv2.INTER_AREA))


def _jpeg(rgb: npt.NDArray[np.uint8]) -> bytes:
    pixels = np.ascontiguousarray(rgb)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=_QUALITY, colorspace="RGB", colorsubsampling="420"))
