"""tile_blend.cu against mattemill.kernels.tile_blend over the lines in float64."""

from __future__ import annotations

import numpy as np
from cuda_checks.colour_lines import applied
from cuda_checks.tools import on_device, photograph, soft_mask, worst

from mattemill.kernels import tile_blend as twin
from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.tile_blend import TileLines, blend_tiles
from mattemill.kernels.tile_input import cut_out

INNER: list[Window] = [(0, 0, 40, 30), (40, 0, 97, 30), (10, 30, 60, 61)]


def placed(inner: Window, blend: int, height: int, width: int) -> tuple[Window, Window]:
    """wide and shown of a tile: the blend around it inside the frame, and a margin around that."""
    x0, y0, x1, y1 = inner
    wide = (max(0, x0 - blend), max(0, y0 - blend), min(width, x1 + blend), min(height, y1 + blend))
    return wide, (wide[0] - 3, wide[1] - 5, wide[2] + 4, wide[3] + 2)


def check_tiles_pass_into_each_other_as_the_numpy_version_has_it(device: Device) -> None:
    height, width, rng = 61, 97, np.random.default_rng(5)
    image, soft, guess = photograph(height, width), soft_mask(height, width), rng.random((height, width), np.float32)
    bands = rng.choice(np.array([0, 128, 128, 255], np.uint8), (height, width))
    for blend in (1, 4, 8):
        expected = np.where(bands == 128, soft, bands == 255).astype(np.float32)
        written = np.zeros((height, width), np.uint8)
        tiles = []
        for inner in INNER:
            wide, shown = placed(inner, blend, height, width)
            size = (shown[3] - shown[1], shown[2] - shown[0])
            lines = rng.normal(0, 0.5, (5, size[0] // 4, size[1] // 4)).astype(np.float32)
            part = (shown[1], shown[0], *size)
            drawn = applied(lines, cut_out(image, *part), cut_out(guess, *part)).astype(np.float32)
            inside = drawn[wide[1] - shown[1] :, wide[0] - shown[0] :][: wide[3] - wide[1], : wide[2] - wide[0]]
            at = (slice(wide[1], wide[3]), slice(wide[0], wide[2]))
            weight = twin.ramp(inner, wide, blend)
            twin.blend_tile(expected[at], written[at], inside, bands[at] == 128, weight)
            tiles.append(TileLines(device.upload(lines), inner, wide, shown))
        given = on_device(device, image), on_device(device, soft), device.upload(bands), device.upload(guess)
        out, broken = blend_tiles(device, tiles, *given, blend)
        found = device.download(out)
        assert worst(found, expected) < 4e-3, blend
        assert (np.abs(found - expected) > 1e-5).mean() < 0.02, blend
        assert device.download(broken).tolist() == [0]


def check_without_a_tile_the_mask_stands_in_the_unknown_band(device: Device) -> None:
    soft, bands = soft_mask(20, 33), np.tile(np.array([0, 128, 255], np.uint8), (20, 11))
    given = device.upload(photograph(20, 33)), on_device(device, soft), device.upload(bands), device.upload(soft)
    out, _ = blend_tiles(device, [], *given, 4)
    assert np.array_equal(device.download(out), np.where(bands == 128, soft, bands == 255).astype(np.float32))


def check_a_value_that_is_not_finite_is_told(device: Device) -> None:
    for value in (np.nan, np.inf, -np.inf):
        lines = np.zeros((5, 8, 8), np.float32)
        lines[1, 3, 4] = value
        tile = TileLines(device.upload(lines), (0, 0, 16, 16), (0, 0, 16, 16), (0, 0, 16, 16))
        planes = device.upload(np.full((16, 16), 0.5, np.float32))
        bands = device.upload(np.full((16, 16), 128, np.uint8))
        _, broken = blend_tiles(device, [tile], device.upload(photograph(16, 16)), planes, bands, planes, 1)
        assert device.download(broken).tolist() == [1], value
