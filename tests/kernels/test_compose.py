from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattemill.kernels.compose import alpha_bytes, compose_over, compose_rgba


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_over_is_the_formula_rounded(height: int, width: int, seed: int) -> None:
    front, back = random(seed, height, width, 3), random(seed + 1, height, width, 3)
    alpha = random(seed + 2, height, width)
    weight = alpha[..., None] / 255
    exact = weight * front + (1 - weight) * back
    for given_alpha in (alpha, alpha.astype(np.float32) / 255):
        out = compose_over(front, given_alpha, back)
        assert out.dtype == np.uint8
        assert np.abs(out - exact).max() <= 0.501


def test_alpha_1_is_the_foreground_and_alpha_0_the_background_to_the_bit() -> None:
    front, back = random(1, 20, 30, 3), random(2, 20, 30, 3)
    assert np.array_equal(compose_over(front, np.ones((20, 30), np.float32), back), front)
    assert np.array_equal(compose_over(front, np.zeros((20, 30), np.float32), back), back)


def test_one_colour_is_a_background_of_that_colour_everywhere() -> None:
    front, alpha, colour = random(3, 9, 11, 3), random(4, 9, 11), np.array([12, 200, 99], np.uint8)
    everywhere = np.tile(colour, (9, 11, 1))
    assert np.array_equal(compose_over(front, alpha, colour), compose_over(front, alpha, everywhere))


def test_the_inputs_stay_as_they_are() -> None:
    front, back, alpha = random(5, 8, 8, 3), random(6, 8, 8, 3), random(7, 8, 8)
    kept = front.copy(), back.copy(), alpha.copy()
    compose_over(front, alpha, back)
    compose_rgba(front, alpha)
    assert all(np.array_equal(a, b) for a, b in zip((front, back, alpha), kept, strict=True))


def test_rgba_holds_colours_and_alpha_without_multiplying_them() -> None:
    front, alpha = random(8, 13, 7, 3), random(9, 13, 7)
    out = compose_rgba(front, alpha)
    assert np.array_equal(out[..., :3], front)
    assert np.array_equal(out[..., 3], alpha)


@pytest.mark.parametrize(("value", "byte"), [(-1.0, 0), (0.0, 0), (0.001, 0), (0.5, 128), (1.0, 255), (2.0, 255)])
def test_alpha_is_clipped_and_rounded_to_bytes(value: float, byte: int) -> None:
    assert alpha_bytes(np.full((2, 3), value, np.float32)).tolist() == [[byte] * 3] * 2


def test_every_byte_survives_as_float_alpha() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(alpha_bytes(values.astype(np.float32) / 255), values)


def test_a_background_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="not of one size"):
        compose_over(random(1, 4, 4, 3), random(2, 4, 4), random(3, 5, 4, 3))
