"""A subject placed on a canvas: scaled to fit within the margins, its bounding box in the middle, without a fringe."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.compose import alpha_bytes
from mattemill.kernels.crop import Window, crop

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

Placement = tuple[Window, Window]
"""(window of the photograph that is seen, where it lies on the canvas), both (x0, y0, x1, y1), x1 and y1 exclusive."""

_WHOLE = 0.9999  # what resampling has left of 1
_SUBJECT = 0.1  # alpha from which a pixel counts for the bounding box; single faint hairs would shift the middle


def place(alpha: Floats, size: tuple[int, int], margin: int, *, upscale: bool) -> Placement:
    """Where the subject goes: its bounding box as large as fits inside the margins, centred.

    alpha: float32 (H, W) in 0..1. size: (width, height) of the canvas in pixels. margin: pixels on each side, such that
    something is left between them. upscale: whether it may grow beyond its own pixels. The bounding box is that of the
    pixels with alpha of at least 0.1; the whole frame when there are none. What lies around the box (faint hair, a
    shadow) comes along as far as the canvas goes.
    """
    height, width = alpha.shape
    box = cv2.boundingRect((alpha >= _SUBJECT).view(np.uint8))
    left, top, across, down = box if box[2] else (0, 0, width, height)
    room = (size[0] - 2 * margin, size[1] - 2 * margin)
    if min(room) < 1:
        raise ValueError(f"a margin of {margin} leaves nothing of a canvas of {size[0]}x{size[1]}")
    scale = min(room[0] / across, room[1] / down)
    if not upscale:
        scale = min(scale, 1.0)
    seen_x, on_x = _span(left, across, width, size[0], scale)
    seen_y, on_y = _span(top, down, height, size[1], scale)
    return (seen_x[0], seen_y[0], seen_x[1], seen_y[1]), (on_x[0], on_y[0], on_x[1], on_y[1])


def _span(start: int, length: int, whole: int, canvas: int, scale: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Along one axis: the pixels of the photograph that the canvas shows, and where they lie on it."""
    middle = start + length / 2
    # The pixels on either side of the middle that still fit; the box itself always does.
    first = max(0, min(start, int(np.ceil(middle - canvas / (2 * scale) - 1e-6))))
    last = min(whole, max(start + length, int(np.floor(middle + canvas / (2 * scale) + 1e-6))))
    drawn = min(canvas, max(1, round((last - first) * scale)))
    at = round(canvas / 2 - (middle - first) * scale)
    at = min(max(0, at), canvas - drawn)
    return (first, last), (at, at + drawn)


def place_plane(plane: Floats, placement: Placement, size: tuple[int, int]) -> Floats:
    """An alpha or another plane in 0..1 on the canvas, 0 around it; float32 (size[1], size[0]).

    plane: float32 (H, W) of the photograph. size: (width, height) of the canvas.
    """
    window, on = placement
    part = _resized(np.ascontiguousarray(crop(plane, window)), on)
    out = np.zeros(size[::-1], np.float32)
    np.clip(part, 0.0, 1.0, out=out[on[1] : on[3], on[0] : on[2]])
    out[out > _WHOLE] = 1
    return out


def place_colours(front: Bytes, alpha: Floats, placement: Placement, size: tuple[int, int]) -> tuple[Bytes, Floats]:
    """Colours and alpha on the canvas: uint8 (h, w, 3), not premultiplied, and float32 (h, w).

    front: uint8 (H, W, 3), the subject's own colours (see `estimate_foreground`). alpha: float32 (H, W) in 0..1.
    Scaled as premultiplied colours (Porter and Duff 1984), so that a pixel counts as much as it is seen: no colour from
    under an alpha of 0 gets into the edge. By area when it shrinks, Lanczos when it grows. Around the photograph its
    outermost colours go on under alpha 0, for whoever scales the result without premultiplying.
    """
    window, on = placement
    colours = np.ascontiguousarray(crop(front, window))
    weights = alpha_bytes(crop(alpha, window))
    # 16 bits hold the product of two bytes exactly, in half the memory of floats.
    seen = _resized(np.multiply(colours, weights[..., None], dtype=np.uint16), on)
    opacity = _resized(np.multiply(weights, np.uint16(255), dtype=np.uint16), on)
    under = _resized(colours, on)
    inside = opacity > 0
    np.minimum(opacity, 255 * 255, out=opacity)  # Lanczos swings over the top
    whole = opacity.astype(np.float32)
    share = seen.astype(np.float32)
    share /= np.maximum(whole, 1)[..., None]
    share *= np.float32(255)
    share += np.float32(0.5)
    np.clip(share, 0, 255, out=share)
    placed = np.where(inside[..., None], share.astype(np.uint8), under)
    around = (on[1], size[1] - on[3], on[0], size[0] - on[2])
    out = cv2.copyMakeBorder(np.ascontiguousarray(placed, np.uint8), *around, cv2.BORDER_REPLICATE)
    plane = np.zeros(size[::-1], np.float32)
    np.multiply(whole, np.float32(1 / (255 * 255)), out=plane[on[1] : on[3], on[0] : on[2]])
    plane[plane > _WHOLE] = 1
    return np.asarray(out, np.uint8).reshape(size[1], size[0], 3), plane


def _resized(plane: npt.NDArray[Any], on: Window) -> npt.NDArray[Any]:
    size = (on[2] - on[0], on[3] - on[1])
    if plane.shape[:2] == size[::-1]:
        return plane
    grows = size[0] > plane.shape[1] or size[1] > plane.shape[0]
    out = cv2.resize(plane, size, interpolation=cv2.INTER_LANCZOS4 if grows else cv2.INTER_AREA)
    return np.asarray(out).reshape(size[1], size[0], *plane.shape[2:])
