"""Tiles of the matting network, drawn on the device and joined to one matte in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_alike, check_resize

_JOB = np.dtype(
    [("lines", np.uint64), ("size", np.int32, 2), *((name, np.int32, 4) for name in ("shown", "inner", "wide"))]
)


@dataclass(frozen=True, slots=True)
class TileLines:
    """Colour lines of a tile, float32 (5, h, w), contiguous, and windows of the photograph in pixels.

    inner: what the tile has alone. wide: what it draws, inside the frame. shown: what its lines cover.
    """

    lines: DeviceArray
    inner: Window
    wide: Window
    shown: Window


def blend_tiles(
    device: Device,
    tiles: Sequence[TileLines],
    image: DeviceArray,
    soft: DeviceArray,
    bands: DeviceArray,
    guess: DeviceArray,
    blend: int,
) -> tuple[DeviceArray, DeviceArray]:
    """The matte of all tiles, float32 (H, W), and whether a value was not finite, int32 (1,).

    As `mattemill.kernels.tile_blend.blend_tile` with its `ramp` over `apply_colour_lines`, tile by tile; 0 and 1 where
    `bands` knows, and `soft` where no tile draws. image: uint8 (H, W, 3). soft: float32 (H, W). Both may be views.
    bands: uint8 (H, W) of 0, 128 and 255; guess: float32 (H, W), the lines' prior; both contiguous. blend: px, at least
    1. Tolerance: 1e-5 a unit of the lines, .004 where tiles pass into each other: weights are kept in whole 255ths.
    """
    height, width = check("blend_tiles", bands, np.uint8, 2).shape
    check("blend_tiles", image, np.uint8, 3)
    check("blend_tiles", soft, np.float32, 2)
    check("blend_tiles", guess, np.float32, 2)
    check_alike("blend_tiles", bands.shape, image, soft, guess)
    if not bands.contiguous or not guess.contiguous:
        raise ValueError("blend_tiles: trimap and guess must be contiguous")
    table = np.empty(len(tiles), _JOB)
    for row, tile in zip(table, tiles, strict=True):
        planes, *size = check("blend_tiles", tile.lines, np.float32, 3).shape
        if planes != 5 or not tile.lines.contiguous:
            raise ValueError(f"blend_tiles: lines {tile.lines.shape} must be five planes, contiguous")
        check_resize("blend_tiles", tuple(size), (tile.shown[3] - tile.shown[1], tile.shown[2] - tile.shown[0]))
        row["lines"], row["size"] = tile.lines.pointer, size
        row["shown"], row["inner"], row["wide"] = tile.shown, tile.inner, tile.wide
    out, broken = device.empty((height, width), np.float32), device.zeros((1,), np.int32)
    jobs = device.upload(table) if tiles else None
    grid = (blocks(width, 32), blocks(height, 8), 1)
    source = (image, image.row_bytes, guess, soft, soft.row_bytes, bands, out, broken, height, width)
    device.launch("tile_blend", grid, (32, 8, 1), jobs, len(tiles), *source, 1 / (2 * blend))
    return out, broken
