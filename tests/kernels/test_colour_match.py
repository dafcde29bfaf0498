"""The subject's colours move towards the background's, as far as the strength says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mattemill.kernels.colour_match import match_colour


def noise(mean: tuple[float, ...], spread: float, seed: int, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, spread, (*shape, 3))
    return np.clip(np.array(mean) + grain, 0, 255).astype(np.uint8)


def lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).reshape(-1, 3)


ALL = np.ones((120, 160), np.float32)


def test_at_full_strength_mean_and_spread_are_the_targets() -> None:
    target = noise((110, 130, 150), 16, 2)
    out = match_colour(noise((150, 120, 100), 12, 1), ALL, target, 1.0)
    np.testing.assert_allclose(lab(out).mean(axis=0), lab(target).mean(axis=0), atol=0.6)
    np.testing.assert_allclose(lab(out).std(axis=0), lab(target).std(axis=0), rtol=0.08)


def test_at_no_strength_nothing_changes() -> None:
    front = noise((150, 120, 100), 12, 1)
    assert match_colour(front, ALL, noise((110, 130, 150), 16, 2), 0.0) is front


def test_half_the_strength_goes_half_the_way() -> None:
    front, target = noise((150, 120, 100), 12, 1), noise((110, 130, 150), 12, 2)
    half = lab(match_colour(front, ALL, target, 0.5)).mean(axis=0)
    np.testing.assert_allclose(half, (lab(front).mean(axis=0) + lab(target).mean(axis=0)) / 2, atol=0.6)


def test_only_what_is_seen_of_the_subject_counts() -> None:
    front = noise((150, 120, 100), 12, 1)
    alpha = ALL.copy()
    alpha[:, 80:] = 0
    other = front.copy()
    other[:, 80:] = (0, 255, 0)
    target = noise((110, 130, 150), 16, 2)
    a, b = match_colour(front, alpha, target, 1.0), match_colour(other, alpha, target, 1.0)
    assert np.array_equal(a[:, :80], b[:, :80])


def test_a_flat_background_does_not_flatten_the_subject() -> None:
    front = noise((150, 120, 100), 20, 1)
    out = match_colour(front, ALL, np.full((50, 50, 3), 128, np.uint8), 1.0)
    assert lab(out)[:, 0].std() > 0.45 * lab(front)[:, 0].std()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (700, 1), (2000, 700)])
def test_every_size_is_done_in_strips_and_alike(shape: tuple[int, int]) -> None:
    front = np.full((*shape, 3), (150, 120, 100), np.uint8)
    out = match_colour(front, np.ones(shape, np.float32), np.full((9, 9, 3), 90, np.uint8), 1.0)
    assert out.shape == front.shape
    assert (out == out[0, 0]).all()
    assert np.abs(out[0, 0].astype(int) - 90).max() <= 1
