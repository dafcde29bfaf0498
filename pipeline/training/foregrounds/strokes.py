"""Strands, wires and other strokes, painted with exact coverage on an enlarged canvas.

OpenCV's antialiased lines blend all four channels of an image alike. On a canvas that starts at nothing and whose
fourth channel is painted with 255, that is Porter and Duff's 'over' with premultiplied colours, so colour and
coverage come out of one call.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

ENLARGED = 3  # times the layer's side
_FRACTION = 4  # bits of a pixel in OpenCV's coordinates


def canvas(size: int) -> Bytes:
    """Nothing yet: uint8 (ENLARGED * size, ENLARGED * size, 4)."""
    return np.zeros((size * ENLARGED, size * ENLARGED, 4), np.uint8)


def reduced(enlarged: Bytes) -> Floats:
    """Premultiplied float32 (size, size, 4) in 0..1 of an enlarged canvas."""
    side = enlarged.shape[0] // ENLARGED
    small = cv2.resize(enlarged.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def fixed(points: Floats) -> npt.NDArray[np.int32]:
    """Points in the layer's pixels as OpenCV's fixed-point ones on the enlarged canvas."""
    return np.asarray(np.round(points * (ENLARGED << _FRACTION)), np.int32)


def strands(target: Bytes, paths: Floats, widths: Floats, colours: Floats) -> None:
    """Paint strands in their order, each tapering and changing colour along its length.

    paths: (n, p, 2), x and y in the layer's pixels. widths: (n, m) in the layer's pixels, colours: (n, m, 3) in 0..1,
    for m pieces of each strand of (p - 1) / m steps.
    """
    pieces = widths.shape[1]
    steps = (paths.shape[1] - 1) // pieces
    points = fixed(paths)
    thick = np.maximum(1, np.round(widths * ENLARGED)).astype(int).tolist()
    shades = np.dstack([np.clip(colours, 0, 1) * 255, np.full(colours.shape[:2], 255)]).tolist()
    for number in range(len(paths)):
        strand, width, shade = points[number], thick[number], shades[number]
        for piece in range(pieces):
            line = strand[piece * steps : (piece + 1) * steps + 1]
            cv2.polylines(target, [line], False, shade[piece], width[piece], cv2.LINE_AA, _FRACTION)


def tube(target: Bytes, path: Floats, width: float, colour: Floats, light: Floats, closed: bool = False) -> None:
    """A round wire: nested strokes, lighter towards the light. path: (p, 2); width in the layer's pixels."""
    layers = 5 if width * ENLARGED >= 6 else 2
    for layer in range(layers):
        inward = layer / max(1, layers - 1)
        shade = np.clip(colour * (0.35 + 0.75 * inward) + 0.55 * max(0.0, inward - 0.7), 0, 1) * 255
        offset = light * (width * 0.28 * inward)
        thick = max(1, round(width * ENLARGED * (1 - 0.85 * inward)))
        line = fixed(np.asarray(path + offset, np.float32))
        cv2.polylines(target, [line], closed, [*shade.tolist(), 255.0], thick, cv2.LINE_AA, _FRACTION)


def filled(size: int, outlines: list[Floats]) -> Floats:
    """Coverage of polygons (even-odd): float32 (size, size) in 0..1. outlines: each (p, 2) in the layer's pixels."""
    mask = np.zeros((size * ENLARGED, size * ENLARGED), np.uint8)
    cv2.fillPoly(mask, [fixed(outline) for outline in outlines], 255.0, cv2.LINE_AA, _FRACTION)
    small = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def light_direction(rng: np.random.Generator) -> Floats:
    """A unit vector towards the light, mostly from above: (2,) x and y."""
    angle = rng.normal(-np.pi / 2, 0.8)
    return np.asarray([np.cos(angle), np.sin(angle)], np.float32)
