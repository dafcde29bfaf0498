"""Affine functions of the colour, drawn at full size."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.colour_lines import apply_colour_lines


def test_the_line_between_two_colours_gives_the_mix_exactly() -> None:
    alpha = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 64).repeat(32, axis=0)
    front, back = np.array([200, 40, 90], np.float32), np.array([20, 160, 30], np.float32)
    image = np.round(alpha[..., None] * front + (1 - alpha[..., None]) * back).astype(np.uint8)
    along = (front - back) / 255
    slope = along / (along @ along)
    lines = np.zeros((5, 16, 32), np.float32)
    lines[0:3] = slope[:, None, None]
    lines[3] = -(slope @ back) / 255
    found = apply_colour_lines(lines, image, np.zeros((32, 64), np.float32))
    assert found.dtype == np.float32
    assert np.abs(found - alpha).max() < 0.006


def test_the_prior_counts_with_its_weight_and_the_result_is_clipped() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    prior = np.full((8, 8), 0.5, np.float32)
    lines = np.zeros((5, 4, 4), np.float32)
    lines[4] = 0.5
    assert np.allclose(apply_colour_lines(lines, image, prior), 0.25)
    lines[3] = 3.0
    assert (apply_colour_lines(lines, image, prior) == 1.0).all()


def test_odd_sizes_and_one_pixel_work() -> None:
    for shape in ((1, 1), (7, 13), (1, 30)):
        lines = np.ones((5, max(1, shape[0] // 2), max(1, shape[1] // 2)), np.float32)
        assert apply_colour_lines(lines, np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)).shape == shape
