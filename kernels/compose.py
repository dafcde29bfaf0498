"""A foreground with its alpha as RGBA, or laid over a background."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def compose_rgba(foreground: npt.NDArray[np.uint8], alpha: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Unpremultiplied RGBA uint8 (H, W, 4): the colours as they are, the alpha beside them.

    foreground: uint8 (H, W, 3), the subject's own colours (see `estimate_foreground`), also under low alpha.
    alpha: float32 (H, W) in 0..1, or uint8 (H, W).
    """
    out = np.empty((*foreground.shape[:2], 4), np.uint8)
    cv2.mixChannels([np.ascontiguousarray(foreground), alpha_bytes(alpha)], [out], [0, 0, 1, 1, 2, 2, 3, 3])
    return out


def compose_over(
    foreground: npt.NDArray[np.uint8], alpha: npt.NDArray[Any], background: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """alpha * foreground + (1 - alpha) * background in sRGB values, rounded; uint8 (H, W, 3).

    foreground: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1, or uint8 (H, W), which counts as value / 255.
    background: uint8 (H, W, 3), or one colour (3,). Porter and Duff's 'over', 1984.
    """
    if background.ndim == 1:
        out = np.empty(foreground.shape, np.uint8)
        out[:1] = background
        out[1:] = out[0]  # by whole rows: three bytes at a time is six times as slow
    else:
        if background.shape != foreground.shape:
            raise ValueError(f"background {background.shape} and foreground {foreground.shape} are not of one size")
        out = np.array(background, np.uint8, order="C")
    front = np.ascontiguousarray(foreground)
    full = 255 if alpha.dtype == np.uint8 else 1
    cv2.copyTo(front, (alpha >= full).view(np.uint8), out)
    flat = alpha.reshape(-1)
    mixed = np.flatnonzero((flat > 0) & (flat < full))
    if mixed.size:  # a few in a hundred: the others are copies
        weight = (flat.take(mixed).astype(np.float32) * np.float32(1 / full))[:, None]
        f = front.reshape(-1, 3).take(mixed, axis=0).astype(np.float32)
        b = out.reshape(-1, 3).take(mixed, axis=0).astype(np.float32)
        out.reshape(-1, 3)[mixed] = (b + (f - b) * weight + np.float32(0.5)).astype(np.uint8)
    return out


def alpha_bytes(alpha: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Alpha as uint8 (H, W), contiguous: float32 in 0..1 is clipped, scaled by 255 and rounded."""
    if alpha.dtype == np.uint8:
        return np.ascontiguousarray(alpha)
    scaled: npt.NDArray[np.float32] = np.clip(np.asarray(alpha, np.float32), 0.0, 1.0)
    scaled *= np.float32(255.0)
    scaled += np.float32(0.5)
    return scaled.astype(np.uint8)
