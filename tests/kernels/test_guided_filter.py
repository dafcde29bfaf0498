from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattemill.kernels.guided_filter import guided_filter


def reference(guide: np.ndarray, target: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Equations 5, 6 and 14 to 16 of He, Sun, Tang as they stand, window by window, in float64."""
    height, width = target.shape
    guide = guide.reshape(height, width, -1).astype(np.float64)
    channels = guide.shape[2]
    slopes, offsets = np.zeros((height, width, channels)), np.zeros((height, width))

    def window(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)

    for y in range(height):
        for x in range(width):
            pixels = guide[window(y, x)].reshape(-1, channels)
            values = target[window(y, x)].reshape(-1).astype(np.float64)
            centred = pixels - pixels.mean(axis=0)
            sigma = centred.T @ centred / len(pixels)
            covariance = centred.T @ values / len(pixels)
            slopes[y, x] = np.linalg.solve(sigma + eps * np.eye(channels), covariance)
            offsets[y, x] = values.mean() - slopes[y, x] @ pixels.mean(axis=0)
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            slope = slopes[window(y, x)].reshape(-1, channels).mean(axis=0)
            out[y, x] = slope @ guide[y, x] + offsets[window(y, x)].mean()
    return out


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 14), st.integers(1, 14), st.integers(0, 16), st.sampled_from([1e-4, 1e-2]), st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_it_agrees_with_the_paper_in_float64(
    height: int, width: int, radius: int, eps: float, channels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    guide = rng.random((height, width, channels)).astype(np.float32)
    guide = guide[..., 0] if channels == 1 else guide
    target = rng.random((height, width)).astype(np.float32)
    out = guided_filter(guide, target, radius, eps)
    assert out.dtype == np.float32
    # A window of a pixel or two has a singular covariance but for eps: float32 then keeps fewer digits.
    assert np.abs(out - reference(guide, target, radius, eps)).max() < (2e-3 if eps < 1e-3 else 2e-4)


def test_bytes_as_guide_count_as_value_over_255() -> None:
    rng = np.random.default_rng(3)
    guide = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    target = rng.random((40, 50)).astype(np.float32)
    as_float = guided_filter(guide.astype(np.float32) / 255, target, 4, 1e-3)
    assert np.abs(guided_filter(guide, target, 4, 1e-3) - as_float).max() < 1e-4


def test_a_blurred_mask_gets_the_edge_of_the_photograph() -> None:
    guide = np.zeros((80, 80), np.uint8)
    guide[:, 40:] = 200
    blurred = np.tile(np.clip((np.arange(80) - 40) / 16 + 0.5, 0, 1).astype(np.float32), (80, 1))
    out = guided_filter(guide, blurred, 10, 1e-4)
    assert out[40, 40] - out[40, 39] > 0.5
    assert blurred[40, 40] - blurred[40, 39] < 0.1


def test_a_colour_guide_sees_an_edge_that_grey_does_not() -> None:
    guide = np.zeros((60, 60, 3), np.float32)
    guide[:, :30] = (0.6, 0.2, 0.3)
    guide[:, 30:] = (0.2, 0.4, 0.3)
    blurred = np.tile(np.clip((np.arange(60) - 30) / 12 + 0.5, 0, 1).astype(np.float32), (60, 1))
    grey = np.full((60, 60), 0.3, np.float32)
    steps = [float(abs(out[30, 30] - out[30, 29])) for out in (
        guided_filter(guide, blurred, 8, 1e-4), guided_filter(grey, blurred, 8, 1e-4))]  # fmt: skip
    assert steps[0] > 0.4
    assert steps[1] < 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_subsampling_stays_close(channels: int) -> None:
    y, x = np.mgrid[0:203, 0:331]
    inside = ((x - 160) ** 2 + (y - 100) ** 2 < 70**2).astype(np.float32)
    guide = np.dstack([0.2 + 0.5 * inside, 0.7 - 0.2 * inside, 0.4 + 0.05 * np.sin(x / 9)]).astype(np.float32)
    guide = guide[..., 0] if channels == 1 else guide
    soft = cv2.GaussianBlur(inside, (0, 0), 5)
    full, fast = guided_filter(guide, soft, 12, 1e-4), guided_filter(guide, soft, 12, 1e-4, subsample=3)
    assert np.abs(full - fast).mean() < 0.01


def test_a_part_with_twice_the_radius_around_it_is_filtered_as_in_the_whole() -> None:
    rng = np.random.default_rng(5)
    guide, target = rng.random((90, 110, 3)).astype(np.float32), rng.random((90, 110)).astype(np.float32)
    whole = guided_filter(guide, target, 5, 1e-3)
    part = guided_filter(guide[20:75, 30:95], target[20:75, 30:95], 5, 1e-3)
    assert np.abs(part[10:-10, 10:-10] - whole[30:65, 40:85]).max() < 1e-4


def test_a_constant_mask_stays_as_it_is() -> None:
    guide = np.random.default_rng(6).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    for value in (0.0, 1.0):
        out = guided_filter(guide, np.full((33, 47), value, np.float32), 6, 1e-4, subsample=2)
        assert np.abs(out - value).max() < 1e-4


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="not of one size"):
        guided_filter(np.zeros((5, 6), np.uint8), np.zeros((6, 5), np.float32), 1, 1e-3)
