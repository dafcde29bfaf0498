"""The edge becomes softer by the pixels that were asked for, and nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mattemill.kernels.feather import feather


def half(width: int = 200) -> np.ndarray:
    alpha = np.zeros((40, width), np.float32)
    alpha[:, : width // 2] = 1
    return alpha


def test_no_feather_gives_the_matte_itself() -> None:
    alpha = half()
    assert feather(alpha, 0) is alpha


@pytest.mark.parametrize("radius", [2.0, 7.0, 30.0])
def test_a_hard_edge_becomes_a_ramp_of_the_radius_to_either_side(radius: float) -> None:
    row = feather(half(), radius)[20]
    middle = 99.5
    x = np.arange(200)
    assert (row[x < middle - 1.3 * radius] > 0.98).all()
    assert (row[x > middle + 1.3 * radius] < 0.02).all()
    assert (row[np.abs(x - middle) < 0.7 * radius] > 0.05).all()
    assert (row[np.abs(x - middle) < 0.7 * radius] < 0.95).all()
    assert abs(row[99] + row[100] - 1) < 0.01, "the half-way line stays"


def test_the_boxes_of_a_wide_feather_are_nearly_the_gaussian() -> None:
    alpha = half()
    assert (
        np.abs(feather(alpha, 24) - cv2.GaussianBlur(alpha, (0, 0), 12, borderType=cv2.BORDER_REPLICATE)).max() < 0.02
    )


def test_a_subject_that_the_frame_cuts_off_stays_whole_at_the_frame() -> None:
    assert (feather(half(), 20)[:, 0] == 1).all()
    assert (feather(half(), 4)[0, :80] == 1).all()


def test_a_thin_hair_gets_fainter_but_is_not_lost() -> None:
    alpha = np.zeros((60, 60), np.float32)
    alpha[:, 30] = 1
    out = feather(alpha, 3)
    assert 0.2 < out[30, 30] < 0.4
    assert out.sum() == pytest.approx(60, rel=0.01)


def test_the_input_is_not_changed() -> None:
    alpha = half()
    before = alpha.copy()
    feather(alpha, 5)
    assert np.array_equal(alpha, before)
