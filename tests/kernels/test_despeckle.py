"""Islands far smaller than the subject and away from it go; what is large or near stays."""

from __future__ import annotations

import numpy as np
import pytest
from finishing_shapes import blurred, distance

from mattemill.kernels.despeckle import despeckle


def with_islands(scale: int = 1) -> np.ndarray:
    """A disc of radius 60 at (160, 120), a speck far away, an earring near it, and a second disc a quarter as large."""
    height, width = 300 * scale, 500 * scale
    mask = distance(height, width, 160 * scale, 120 * scale) < 60 * scale
    mask |= distance(height, width, 450 * scale, 30 * scale) < 4 * scale  # speck
    mask |= distance(height, width, 160 * scale, 190 * scale) < 4 * scale  # earring
    mask |= distance(height, width, 400 * scale, 240 * scale) < 30 * scale  # the other shoe
    return np.minimum(blurred(mask), 1)


@pytest.mark.parametrize("scale", [1, 5])
def test_a_speck_goes_with_its_rim_and_an_earring_and_a_second_shoe_stay(scale: int) -> None:
    alpha = with_islands(scale)
    out, specks = despeckle(alpha)
    assert specks == 1
    assert not out[: 60 * scale, 400 * scale :].any(), "the speck and its faint rim"
    assert out[190 * scale, 160 * scale] > 0.9
    assert out[240 * scale, 400 * scale] == 1
    assert np.array_equal(out[:, : 300 * scale], alpha[:, : 300 * scale]), "the subject is not touched"


def test_what_is_near_to_a_small_thing_that_stays_stays_too() -> None:
    mask = distance(300, 500, 160, 120) < 60
    for x in (235, 255, 275, 295):  # beads on a thread: each nearer to the one before than to the subject
        mask |= distance(300, 500, x, 120) < 3
    alpha = blurred(mask)
    out, specks = despeckle(alpha)
    assert specks == 0
    assert out is alpha


def test_a_matte_of_one_piece_or_none_comes_back_as_it_is() -> None:
    one = blurred(distance(100, 100, 50, 50) < 20)
    assert despeckle(one)[0] is one
    empty = np.zeros((50, 60), np.float32)
    assert despeckle(empty) == (empty, 0) or despeckle(empty)[1] == 0


def test_a_set_of_small_parts_stays_whole() -> None:
    mask = np.zeros((300, 500), bool)
    for x in range(50, 460, 100):
        mask |= distance(300, 500, x, 150) < 12
    alpha = blurred(mask)
    assert despeckle(alpha)[1] == 0


def test_the_input_is_not_changed() -> None:
    alpha = with_islands()
    before = alpha.copy()
    despeckle(alpha)
    assert np.array_equal(alpha, before)
