"""Rectangles that together hold every unknown pixel of a trimap, chosen so that little else is computed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_SMALLEST = 32  # px; a side is not cut below it
_CUTS = 3  # places at which a cut of the longer side is tried


@dataclass(frozen=True, slots=True)
class Rectangle:
    """x0, y0, x1, y1 in pixels, exclusive at the end."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0


def tiles(unknown: npt.NDArray[np.bool_], largest: int, margin: int, multiple: int) -> list[Rectangle]:
    """Disjoint rectangles that cover all true pixels; none when there are none.

    unknown: bool (H, W). largest: px, the longest side of a rectangle without its margin. margin: px of context that
    each will get on every side; multiple: sides with margin are rounded up to this. Both make a cut cost something: a
    rectangle is cut in two, each part shrunk to what it holds, where that makes the area to compute smaller.
    """
    whole = _shrunk(unknown, Rectangle(0, 0, unknown.shape[1], unknown.shape[0]))
    return [] if whole is None else _split(unknown, whole, largest, margin, multiple)


def padded(rectangle: Rectangle, margin: int, multiple: int) -> tuple[int, int]:
    """(height, width) in pixels that are computed for a rectangle."""
    return (
        -(-(rectangle.height + 2 * margin) // multiple) * multiple,
        -(-(rectangle.width + 2 * margin) // multiple) * multiple,
    )


def _split(
    unknown: npt.NDArray[np.bool_], rectangle: Rectangle, largest: int, margin: int, multiple: int
) -> list[Rectangle]:
    longer = max(rectangle.width, rectangle.height)
    forced = longer > largest
    best: list[Rectangle] | None = None
    best_cost = _cost([rectangle], margin, multiple)
    if longer >= 2 * _SMALLEST:
        for number in range(1, _CUTS + 1):
            parts = _cut(unknown, rectangle, longer * number // (_CUTS + 1))
            cost = _cost(parts, margin, multiple)
            if cost < best_cost or (forced and best is None):
                best, best_cost = parts, cost
    if best is None:
        return [rectangle]
    return [tile for part in best for tile in _split(unknown, part, largest, margin, multiple)]


def _cost(parts: list[Rectangle], margin: int, multiple: int) -> int:
    total = 0
    for part in parts:
        height, width = padded(part, margin, multiple)
        total += height * width
    return total


def _cut(unknown: npt.NDArray[np.bool_], of: Rectangle, at: int) -> list[Rectangle]:
    """The rectangle in two, `at` pixels along its longer side, each shrunk; fewer when one holds nothing."""
    if of.width >= of.height:
        halves = [Rectangle(of.x0, of.y0, of.x0 + at, of.y1), Rectangle(of.x0 + at, of.y0, of.x1, of.y1)]
    else:
        halves = [Rectangle(of.x0, of.y0, of.x1, of.y0 + at), Rectangle(of.x0, of.y0 + at, of.x1, of.y1)]
    shrunk = (_shrunk(unknown, half) for half in halves)
    return [half for half in shrunk if half is not None]


def _shrunk(unknown: npt.NDArray[np.bool_], to: Rectangle) -> Rectangle | None:
    part = np.ascontiguousarray(unknown[to.y0 : to.y1, to.x0 : to.x1])
    x, y, width, height = cv2.boundingRect(part.view(np.uint8))
    return Rectangle(to.x0 + x, to.y0 + y, to.x0 + x + width, to.y0 + y + height) if width and height else None
