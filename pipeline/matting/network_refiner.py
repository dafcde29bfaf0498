"""Alpha in the unknown band: a coarse closed-form matte, and the matting network over it, tile by tile."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.closed_form import closed_form_lines
from mattemill.kernels.colour_lines import apply_colour_lines, part_of_lines
from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.matting.tiles import Rectangle, padded, tiles
from mattemill.pipeline.photo import Alpha, Rgb

INPUT, OUTPUT = "given", "lines"
MULTIPLE = 32

_LARGEST = 320  # px; larger tiles waste more on what is known, smaller ones more on margins
_MARGIN = 16  # px of context around a tile, the blend included: the network sees further, but little depends on it
_BLEND = 4  # px over which neighbouring tiles pass into each other
_CLOSED = 2  # of what the network sees: the side of the closed-form matte's level; it was trained with 2 and 4
_LONG_SIDE = 1600  # px up to which the network sees the photograph as it is; the largest it was trained for


class MattingNetworkRefiner:
    """Alpha in a trimap's unknown band; outside it the trimap's 0 and 1.

    First a closed-form matte, then, tile by tile, the network, which sees it, and the mask, and the photograph. What
    both predict are functions of the colour, drawn at full size: they lose little at smaller ones. step: the network
    sees 1/step of the photograph's side, and the closed-form matte is solved at half of that. A photograph longer than
    1,600 px is shown at a half, a third ... of that: the band of a soft mask grows with the photograph. Memory beyond
    the arguments and the result is 5 bytes a pixel, some 60 bytes a pixel of one tile, and less than 1 kB a cell of the
    closed-form level that is unknown.
    """

    def __init__(self, engine: Engine, step: int = 2) -> None:
        self._engine = engine
        self._step = step

    def __call__(
        self,
        image: Rgb,
        soft: Alpha,
        bands: npt.NDArray[np.uint8],
        where: npt.NDArray[np.bool_] | None = None,
    ) -> Alpha:
        """See `BandRefiner`. The closed-form matte is solved in the whole band: its pixels decide each other."""
        unknown = bands == UNKNOWN
        matte = _known_and(soft, bands)
        asked = unknown if where is None else unknown & where
        if not asked.any():
            return matte
        step = self._step * math.ceil(max(soft.shape) / _LONG_SIDE)
        # A tile has at least MULTIPLE * step pixels on both sides: of a strip most of it would be padding.
        step = max(self._step, min(step, min(soft.shape) // MULTIPLE))
        closed = closed_form_lines(image, bands, _CLOSED * step)
        blend = _BLEND * step
        # What earlier tiles have written, by weight; only where tiles pass into each other is it more than one.
        written = np.zeros(soft.shape, np.uint8)
        for tile in tiles(asked, _LARGEST * step, _MARGIN * step, MULTIPLE * step):
            wide = _grown(tile, blend, soft.shape)
            found = self._alpha(image, soft, bands, closed, wide, step)
            at = (slice(wide.y0, wide.y1), slice(wide.x0, wide.x1))
            weight = _ramp(tile, wide, blend)
            before = written[at].astype(np.float32) / 255
            share = weight / (weight + before)
            mixed = found * share + matte[at] * (1 - share)
            np.copyto(matte[at], mixed, where=unknown[at])
            written[at] = np.maximum(written[at], (weight * 255).astype(np.uint8))
        return matte

    def _alpha(
        self,
        image: Rgb,
        soft: Alpha,
        bands: npt.NDArray[np.uint8],
        closed: npt.NDArray[np.float32],
        where: Rectangle,
        step: int,
    ) -> npt.NDArray[np.float32]:
        """Alpha of one rectangle, computed with a margin around it."""
        height, width = padded(where, (_MARGIN - _BLEND) * step, MULTIPLE * step)
        top = where.y0 - (height - where.height) // 2
        left = where.x0 - (width - where.width) // 2
        photo = _cut_out(image, top, left, height, width)
        known = _cut_out(bands, top, left, height, width)
        mask = _known_and(_cut_out(soft, top, left, height, width), known)
        shape = (soft.shape[0], soft.shape[1])
        drawn = apply_colour_lines(part_of_lines(closed, shape, top, left, height, width), photo, mask)
        guess = np.asarray(np.where(known == UNKNOWN, drawn, mask), np.float32)
        lines = self._engine.run({INPUT: _network_input(photo, mask, guess, known, step)})[OUTPUT][0]
        inside = (
            slice(where.y0 - top, where.y0 - top + where.height),
            slice(where.x0 - left, where.x0 - left + where.width),
        )
        return apply_colour_lines(lines, photo, guess)[inside]


def _known_and(soft: Alpha, bands: npt.NDArray[np.uint8]) -> Alpha:
    """What the trimap knows, and the mask where it knows nothing."""
    return np.asarray(np.where(bands == UNKNOWN, soft, bands == FOREGROUND), np.float32)


def _network_input(
    photo: Rgb, mask: Alpha, closed: Alpha, known: npt.NDArray[np.uint8], step: int
) -> npt.NDArray[np.float32]:
    """float32 (1, 7, h, w), all in 0..1, at 1/step of the size.

    Channels: the colours, known foreground, known background, the mask, the closed-form matte.
    """
    height, width = mask.shape
    size = (width // step, height // step)
    out = np.empty((1, 7, size[1], size[0]), np.float32)
    front, back = (known == FOREGROUND).view(np.uint8), (known == BACKGROUND).view(np.uint8)
    if step > 1:
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)
        closed = np.asarray(cv2.resize(closed, size, interpolation=cv2.INTER_AREA), np.float32)
        # A cell is known only where all of it is.
        kernel = (step, step)
        front = _all_of(front, kernel, size)
        back = _all_of(back, kernel, size)
    for channel in range(3):
        np.multiply(photo[..., channel], np.float32(1 / 255), out=out[0, channel])
    out[0, 3], out[0, 4], out[0, 5], out[0, 6] = front, back, mask, closed
    return out


def _all_of(mask: npt.NDArray[np.uint8], cell: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    blocks = mask.reshape(size[1], cell[1], size[0], cell[0])
    return np.asarray(blocks.min(axis=(1, 3)), np.uint8)


def _cut_out(plane: npt.NDArray[Any], top: int, left: int, height: int, width: int) -> npt.NDArray[Any]:
    """A part of an array that may reach beyond it; the frame's last pixels are repeated there."""
    rows, columns = plane.shape[:2]
    part = plane[max(0, top) : min(rows, top + height), max(0, left) : min(columns, left + width)]
    above, before = max(0, -top), max(0, -left)
    below, after = max(0, top + height - rows), max(0, left + width - columns)
    if not (above or before or below or after):
        return np.ascontiguousarray(part)
    return np.asarray(cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_REPLICATE))


def _grown(tile: Rectangle, by: int, shape: tuple[int, ...]) -> Rectangle:
    return Rectangle(
        max(0, tile.x0 - by), max(0, tile.y0 - by), min(shape[1], tile.x1 + by), min(shape[0], tile.y1 + by)
    )


def _ramp(tile: Rectangle, wide: Rectangle, blend: int) -> npt.NDArray[np.float32]:
    """Weights of `wide`: 1 inside the tile less the blend, falling linearly to nearly nothing at its edge."""
    across = _ramp_along(wide.width, tile.x0 - wide.x0, wide.x1 - tile.x1, blend)
    down = _ramp_along(wide.height, tile.y0 - wide.y0, wide.y1 - tile.y1, blend)
    return np.asarray(np.minimum(down[:, None], across[None, :]), np.float32)


def _ramp_along(length: int, before: int, after: int, blend: int) -> npt.NDArray[np.float32]:
    ramp = np.ones(length, np.float32)
    at = np.arange(length)
    if before:
        ramp = np.minimum(ramp, (at + 0.5) / (2 * blend))
    if after:
        ramp = np.minimum(ramp, (length - at - 0.5) / (2 * blend))
    return np.asarray(np.clip(ramp, 1 / 255, 1), np.float32)
