"""Affine functions of the colour, drawn at full size."""

from __future__ import annotations

import cv2
import numpy as np

from mattemill.kernels.colour_lines import apply_colour_lines, part_of_lines


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


def test_a_part_is_what_the_whole_has_there() -> None:
    rng = np.random.default_rng(3)
    lines = rng.random((5, 25, 40), np.float32)
    whole = np.stack([cv2.resize(line, (160, 100), interpolation=cv2.INTER_LINEAR) for line in lines])
    part = part_of_lines(lines, (100, 160), 31, 17, 40, 64)
    assert part.shape == (5, 40, 64)
    assert np.abs(part - whole[:, 31:71, 17:81]).max() < 0.01


def test_beyond_the_frame_a_part_repeats_the_last_lines() -> None:
    lines = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    part = part_of_lines(lines, (8, 8), -8, -8, 8, 8)
    assert (part == 0).all()
