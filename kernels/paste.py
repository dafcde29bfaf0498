"""Masks of crops, put back into the frame of the photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt


def paste_masks(
    masks: Iterable[tuple[npt.NDArray[np.uint8], Sequence[int]]], shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """One alpha for the photograph: each mask resized to its window, the larger value where windows overlap.

    masks: pairs of (uint8 (h, w) in 0..255, integer window (x0, y0, x1, y1) inside the photograph).
    shape: (H, W) of the photograph. Returns float32 (H, W) in 0..1, 0 outside every window.
    Enlarged with bicubic interpolation (clipped), which keeps a soft edge steeper than linear; reduced by area.
    """
    height, width = shape
    out: npt.NDArray[np.float32] | None = None
    for mask, window in masks:
        x0, y0, x1, y1 = (int(value) for value in window)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"window {(x0, y0, x1, y1)} is empty or leaves the photograph of {width}x{height}")
        resized = _resize(mask, (y1 - y0, x1 - x0))
        if out is None:
            if resized.shape == (height, width):
                out = resized
                continue
            out = np.zeros((height, width), np.float32)
            out[y0:y1, x0:x1] = resized
            continue
        view = out[y0:y1, x0:x1]
        np.maximum(view, resized, out=view)
    return out if out is not None else np.zeros((height, width), np.float32)


def _resize(mask: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    values = mask.astype(np.float32) * np.float32(1 / 255)
    if mask.shape == shape:
        return values
    if shape[0] * shape[1] < mask.shape[0] * mask.shape[1]:
        resized = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    else:
        resized = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
        np.clip(resized, 0.0, 1.0, out=resized)
    return np.asarray(resized, np.float32)
