"""A small JPEG of a photograph, for the failure log."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from mattemill.kernels.compose import compose_over
from mattemill.pipeline.photo import Alpha, Rgb

MAX_PREVIEW_BYTES: Final = 10_000
"""Bytes of a preview at most: a million failures are then 10 GB, and a row of the log stays small."""

_LONG_SIDE = 256
_BACKGROUND = np.array([255, 0, 255], np.uint8)  # magenta: no article has it, so what was cut away shows
_QUALITIES = (85, 70, 50, 30, 15)


def preview_jpeg(rgb: Rgb, alpha: Alpha | None = None) -> bytes:
    """At most MAX_PREVIEW_BYTES of JPEG, the long side 256 pixels or less.

    rgb: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1; when given, the cut is shown on magenta.
    Quality goes down before size does; noise at 256 pixels still fits by halving the size.
    """
    side = _LONG_SIDE
    while True:
        small = _shrink(rgb, side)
        if alpha is not None:
            size = (small.shape[1], small.shape[0])
            weights = cv2.resize(np.ascontiguousarray(alpha), size, interpolation=cv2.INTER_AREA)
            small = compose_over(small, np.asarray(weights, np.float32), _BACKGROUND)
        for quality in _QUALITIES:
            encoded = simplejpeg.encode_jpeg(small, quality=quality, colorspace="RGB", colorsubsampling="420")
            if len(encoded) <= MAX_PREVIEW_BYTES:
                return bytes(encoded)
        side //= 2


def _shrink(rgb: Rgb, side: int) -> npt.NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.ascontiguousarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
