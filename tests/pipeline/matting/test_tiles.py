"""Tiles cover the unknown pixels once, and little else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mattemill.pipeline.matting.tiles import Rectangle, padded, tiles, tiles_by


def covered(unknown: np.ndarray, found: list[Rectangle]) -> np.ndarray:
    times = np.zeros(unknown.shape, int)
    for tile in found:
        times[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
    return times


@pytest.mark.parametrize("seed", range(5))
def test_every_unknown_pixel_lies_in_exactly_one_tile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unknown = rng.random((rng.integers(1, 700), rng.integers(1, 700))) < 0.002
    unknown[rng.integers(0, unknown.shape[0]), :] = True
    times = covered(unknown, tiles(unknown, 128, 16, 32))
    assert (times[unknown] == 1).all()
    assert times.max() <= 1


def test_a_trimap_without_a_band_has_no_tiles() -> None:
    assert tiles(np.zeros((50, 60), bool), 128, 16, 32) == []


def test_no_tile_is_longer_than_asked() -> None:
    found = tiles(np.ones((300, 1000), bool), 128, 16, 32)
    assert max(max(tile.width, tile.height) for tile in found) <= 128
    assert covered(np.ones((300, 1000), bool), found).min() == 1


def test_a_thin_ring_costs_a_fraction_of_its_rectangle() -> None:
    rows, columns = np.mgrid[:1000, :1000]
    distance = np.hypot(rows - 500, columns - 500)
    ring = np.abs(distance - 450) < 10
    area = sum(np.prod(padded(tile, 16, 32)) for tile in tiles(ring, 256, 16, 32))
    assert area < 0.5 * 1000 * 1000


def test_a_mask_that_lies_elsewhere_is_asked_about_in_a_few_rounds() -> None:
    rows, columns = np.mgrid[:1000, :1400]
    ring = np.abs(np.hypot(rows - 500, columns - 700) - 450) < 10
    rounds: list[int] = []

    def boxes(parts: Sequence[Rectangle]) -> list[Rectangle | None]:
        rounds.append(len(parts))
        found: list[Rectangle | None] = []
        for part in parts:
            inside = np.argwhere(ring[part.y0 : part.y1, part.x0 : part.x1])
            (top, left), (bottom, right) = (inside.min(0), inside.max(0)) if len(inside) else ((0, 0), (-1, -1))
            box = Rectangle(
                part.x0 + int(left), part.y0 + int(top), part.x0 + int(right) + 1, part.y0 + int(bottom) + 1
            )
            found.append(box if len(inside) else None)
        return found

    assert tiles_by(boxes, ring.shape, 256, 16, 32) == tiles(ring, 256, 16, 32)
    assert len(rounds) <= 10
    assert sum(rounds) < 1000


def test_padding_holds_the_margin_on_both_sides() -> None:
    assert padded(Rectangle(3, 5, 103, 6), 16, 32) == (64, 160)
