"""Rectangles that together hold every unknown pixel of a trimap, chosen so that little else is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


Boxes = Callable[[Sequence[Rectangle]], list[Rectangle | None]]
"""For each of some rectangles the one around the true pixels in it, None where there are none."""


def tiles(unknown: npt.NDArray[np.bool_], largest: int, margin: int, multiple: int) -> list[Rectangle]:
    """Disjoint rectangles that cover all true pixels; none when there are none.

    unknown: bool (H, W). largest: px, the longest side of a rectangle without its margin. margin: px of context that
    each will get on every side; multiple: sides with margin are rounded up to this. Both make a cut cost something: a
    rectangle is cut in two, each part shrunk to what it holds, where that makes the area to compute smaller.
    """
    shape = (unknown.shape[0], unknown.shape[1])
    return tiles_by(lambda parts: [_shrunk(unknown, part) for part in parts], shape, largest, margin, multiple)


def tiles_by(boxes: Boxes, shape: tuple[int, int], largest: int, margin: int, multiple: int) -> list[Rectangle]:
    """As `tiles`, for whoever has the pixels elsewhere.

    boxes: asked once for all rectangles of a round, six parts each. shape: (H, W) of what holds the pixels.
    """
    (whole,) = boxes([Rectangle(0, 0, shape[1], shape[0])])
    found = [] if whole is None else [whole]
    open_ones = set(found)
    while cuts := {one: _cuts(one) for one in open_ones if max(one.width, one.height) >= 2 * _SMALLEST}:
        held = iter(boxes([half for pairs in cuts.values() for pair in pairs for half in pair]))
        parts = {}
        for one, pairs in cuts.items():
            options = [[half for half in (next(held), next(held)) if half is not None] for _ in pairs]
            parts[one] = _best(one, options, largest, margin, multiple)
        open_ones = {part for one, chosen in parts.items() if chosen != [one] for part in chosen}
        found = [part for one in found for part in parts.get(one, [one])]
    return found


def padded(rectangle: Rectangle, margin: int, multiple: int) -> tuple[int, int]:
    """(height, width) in pixels that are computed for a rectangle."""
    return (
        -(-(rectangle.height + 2 * margin) // multiple) * multiple,
        -(-(rectangle.width + 2 * margin) // multiple) * multiple,
    )


def _best(one: Rectangle, options: list[list[Rectangle]], largest: int, margin: int, multiple: int) -> list[Rectangle]:
    """The cheapest of itself and of what its cuts make of it; the first cut of those alike. One too long is cut."""
    forced = max(one.width, one.height) > largest
    best: list[Rectangle] | None = None
    best_cost = _cost([one], margin, multiple)
    for parts in options:
        cost = _cost(parts, margin, multiple)
        if cost < best_cost or (forced and best is None):
            best, best_cost = parts, cost
    return best or [one]


def _cost(parts: list[Rectangle], margin: int, multiple: int) -> int:
    total = 0
    for part in parts:
        height, width = padded(part, margin, multiple)
        total += height * width
    return total


def _cuts(of: Rectangle) -> list[tuple[Rectangle, Rectangle]]:
    """The rectangle in two, across its longer side, at each of the places that are tried."""
    cuts = []
    for number in range(1, _CUTS + 1):
        at = max(of.width, of.height) * number // (_CUTS + 1)
        if of.width >= of.height:
            cuts.append((Rectangle(of.x0, of.y0, of.x0 + at, of.y1), Rectangle(of.x0 + at, of.y0, of.x1, of.y1)))
        else:
            cuts.append((Rectangle(of.x0, of.y0, of.x1, of.y0 + at), Rectangle(of.x0, of.y0 + at, of.x1, of.y1)))
    return cuts


def _shrunk(unknown: npt.NDArray[np.bool_], to: Rectangle) -> Rectangle | None:
    part = np.ascontiguousarray(unknown[to.y0 : to.y1, to.x0 : to.x1])
    x, y, width, height = cv2.boundingRect(part.view(np.uint8))
    return Rectangle(to.x0 + x, to.y0 + y, to.x0 + x + width, to.y0 + y + height) if width and height else None
