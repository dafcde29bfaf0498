from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN, trimap


def half(width: int = 200, soft: int = 0) -> np.ndarray:
    """0 on the left, 1 on the right, with a ramp of `soft` pixels between."""
    x = np.arange(width) - width / 2
    row = np.clip(x / soft + 0.5, 0, 1) if soft else (x >= 0).astype(np.float64)
    return np.tile(row.astype(np.float32), (width, 1))


@pytest.mark.parametrize("radius", [1, 3, 10])
def test_the_band_at_a_sharp_edge_is_the_radius_on_each_side(radius: int) -> None:
    row = trimap(half(), radius)[100]
    unknown = np.flatnonzero(row == UNKNOWN)
    # The two pixels that touch the edge, and the radius beyond them.
    assert (unknown[0], unknown[-1]) == (99 - radius, 100 + radius)
    assert unknown.size == 2 * radius + 2
    assert (row[: 99 - radius] == BACKGROUND).all()
    assert (row[101 + radius :] == FOREGROUND).all()


@pytest.mark.parametrize("radius", [16, 25, 40, 77])
def test_a_band_drawn_in_blocks_is_never_narrower_and_at_most_two_blocks_wider(radius: int) -> None:
    unknown = np.flatnonzero(trimap(half(401), radius)[200] == UNKNOWN)
    block = min(8, radius // 8)
    assert 199 - radius - 2 * block - 1 <= unknown[0] <= 200 - radius
    assert 200 + radius <= unknown[-1] <= 201 + radius + 2 * block + 1


def test_the_band_widens_where_the_mask_is_unsure() -> None:
    # What lies beyond the soft pixels themselves is the radius at a hard edge, and up to twice that at a wide ramp.
    def beyond(soft: int) -> int:
        alpha = half(300, soft)
        row = trimap(alpha, 10)[150]
        return int(np.count_nonzero((row == UNKNOWN) & ((alpha[150] <= 0.05) | (alpha[150] >= 0.95)))) // 2

    assert beyond(1) in (10, 11)
    assert beyond(60) == 15  # at the ramp's end half of the pixels around are unsure


def test_softness_widens_only_where_it_is() -> None:
    alpha = half(300)
    alpha[200:] = half(300, 60)[200:]
    rows = trimap(alpha, 10)
    assert np.count_nonzero(rows[50] == UNKNOWN) == 22
    assert np.count_nonzero(rows[280] == UNKNOWN) > 54 + 26


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_sure_labels_agree_with_the_mask_and_lie_farther_than_the_radius_from_doubt(
    height: int, width: int, radius: int, seed: int
) -> None:
    alpha = np.random.default_rng(seed).choice(np.array([0, 0, 0, 0, 1, 1, 0.4], np.float32), (height, width))
    alpha[: height // 2] = 0
    out = trimap(alpha, radius)
    assert set(np.unique(out)) <= {BACKGROUND, UNKNOWN, FOREGROUND}
    assert (alpha[out == FOREGROUND] >= 0.95).all()
    assert (alpha[out == BACKGROUND] <= 0.05).all()
    for y, x in np.argwhere((alpha > 0.05) & (alpha < 0.95)):
        near = out[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        assert (near == UNKNOWN).all()


def test_a_mask_that_is_sure_everywhere_has_no_band() -> None:
    assert (trimap(np.ones((30, 40), np.float32), 5) == FOREGROUND).all()
    assert (trimap(np.zeros((30, 40), np.float32), 5) == BACKGROUND).all()
