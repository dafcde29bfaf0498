"""Where the matting network looks: how large it sees a photograph, in which tiles, and what it is shown of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window
from mattemill.pipeline.matting.tiles import Boxes, Rectangle, padded, tiles, tiles_by

MULTIPLE = 32
"""Sides of the network's input are multiples of this."""

LARGEST = 320
"""px of the network's; larger tiles waste more on what is known, smaller ones more on margins."""

MARGIN = 16
"""px of the network's, of context around a tile, the blend included: it sees further, but little depends on it."""

BLEND = 4
"""px of the network's, over which neighbouring tiles pass into each other."""

CLOSED = 2
"""Of what the network sees: the side of the closed-form matte's level; it was trained with 2 and 4."""

_LONG_SIDE = 1600  # px up to which the network sees the photograph as it is; the largest it was trained for


@dataclass(frozen=True, slots=True)
class Tile:
    """Windows of the photograph in pixels, each inside the next.

    inner: what this tile has alone. wide: what is drawn, `inner` and the blend around it, inside the frame. shown: what
    the network is shown, `wide` in its middle, with sides that it takes; may reach beyond the frame.
    """

    inner: Window
    wide: Window
    shown: Window


def seen_step(shape: tuple[int, ...], step: int) -> int:
    """The network sees 1/this of the sides of a photograph of `shape` (H, W); `step` up to 1,600 px."""
    seen = step * math.ceil(max(shape) / _LONG_SIDE)
    # A tile has at least MULTIPLE * step pixels on both sides: of a strip most of it would be padding.
    return max(step, min(seen, min(shape) // MULTIPLE))


def plan_tiles(asked: npt.NDArray[np.bool_], step: int) -> list[Tile]:
    """Tiles that hold every true pixel of `asked`, bool (H, W). step: as `seen_step` says."""
    found = tiles(asked, LARGEST * step, MARGIN * step, MULTIPLE * step)
    return [_placed(tile, step, asked.shape) for tile in found]


def plan_tiles_by(boxes: Boxes, shape: tuple[int, int], step: int) -> list[Tile]:
    """The same, where only `boxes` knows the pixels of a photograph of `shape` (H, W); see `tiles_by`."""
    found = tiles_by(boxes, shape, LARGEST * step, MARGIN * step, MULTIPLE * step)
    return [_placed(tile, step, shape) for tile in found]


def _placed(tile: Rectangle, step: int, shape: tuple[int, ...]) -> Tile:
    by = BLEND * step
    wide = Rectangle(
        max(0, tile.x0 - by), max(0, tile.y0 - by), min(shape[1], tile.x1 + by), min(shape[0], tile.y1 + by)
    )
    height, width = padded(wide, (MARGIN - BLEND) * step, MULTIPLE * step)
    top = wide.y0 - (height - wide.height) // 2
    left = wide.x0 - (width - wide.width) // 2
    return Tile(
        (tile.x0, tile.y0, tile.x1, tile.y1),
        (wide.x0, wide.y0, wide.x1, wide.y1),
        (left, top, left + width, top + height),
    )
