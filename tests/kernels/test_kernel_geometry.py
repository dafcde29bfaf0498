"""Windows, boxes, letterbox, paste: where pixels go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattemill.kernels.crop import crop, expand_box
from mattemill.kernels.letterbox import letterbox
from mattemill.kernels.paste import paste_masks


@st.composite
def windows(draw: st.DrawFn, most: int = 40) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return (height, width), (x0, y0, x1, y1)


@given(windows(), st.integers(0, 2**32 - 1))
def test_pasting_what_was_cropped_gives_back_the_mask_inside_and_zero_outside(
    case: tuple[tuple[int, int], tuple[int, int, int, int]], seed: int
) -> None:
    shape, (x0, y0, x1, y1) = case
    mask = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    pasted = paste_masks([(crop(mask, (x0, y0, x1, y1)), (x0, y0, x1, y1))], shape)
    expected = np.zeros(shape, np.uint8)
    expected[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    assert np.array_equal(np.rint(pasted * 255).astype(np.uint8), expected)


def test_a_crop_is_a_view_and_not_a_copy() -> None:
    image = np.zeros((10, 12, 3), np.uint8)
    crop(image, (2, 3, 5, 7))[:] = 9
    assert image[3:7, 2:5].min() == 9
    assert image.sum() == 9 * 4 * 3 * 3


@pytest.mark.parametrize("window", [(0, 0, 13, 5), (-1, 0, 3, 3), (4, 4, 4, 6), (0, 9, 3, 11)])
def test_a_window_that_leaves_the_image_or_is_empty_is_refused(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="window"):
        crop(np.zeros((10, 12, 3), np.uint8), window)
    with pytest.raises(ValueError, match="window"):
        paste_masks([(np.zeros((4, 4), np.uint8), window)], (10, 12))


@given(windows(), st.floats(0, 3))
def test_an_expanded_box_holds_the_box_stays_inside_and_is_never_empty(
    case: tuple[tuple[int, int], tuple[int, int, int, int]], margin: float
) -> None:
    (height, width), box = case
    x0, y0, x1, y1 = expand_box(box, margin, (height, width, 3))
    assert 0 <= x0 <= box[0] < box[2] <= x1 <= width
    assert 0 <= y0 <= box[1] < box[3] <= y1 <= height


def test_the_margin_is_a_share_of_the_longer_side() -> None:
    assert expand_box((40.5, 50.5, 60, 150), 0.10, (300, 200)) == (30, 40, 70, 160)


def test_a_box_outside_the_image_becomes_a_pixel_at_its_border() -> None:
    assert expand_box((500, 20, 600, 30), 0.0, (100, 100)) == (99, 20, 100, 30)


def test_letterbox_maps_points_as_it_says() -> None:
    image = np.zeros((300, 600, 3), np.uint8)
    image[100:110, 400:410] = 255
    out, scale, (dx, dy) = letterbox(image, (320, 320), 114)
    rows, columns = np.nonzero(out[..., 0] > 200)
    assert out.shape == (320, 320, 3)
    assert columns.mean() == pytest.approx(404.5 * scale + dx, abs=0.75)
    assert rows.mean() == pytest.approx(104.5 * scale + dy, abs=0.75)
    assert (out[: dy - 1] == 114).all()
    assert (dx, dy) == (0, 80)


def test_a_cornered_letterbox_begins_at_the_top_left() -> None:
    out, scale, offset = letterbox(np.full((100, 50, 3), 7, np.uint8), (416, 416), 114, align="corner")
    assert offset == (0, 0)
    assert scale == 4.16
    assert (out[:, :208] == 7).all()
    assert (out[:, 208:] == 114).all()


def test_where_windows_overlap_the_larger_value_stays() -> None:
    low, high = np.full((4, 4), 51, np.uint8), np.full((4, 4), 204, np.uint8)
    out = paste_masks([(high, (0, 0, 4, 4)), (low, (2, 0, 6, 4))], (4, 8))
    assert np.allclose(out[0], [0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0, 0])


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_a_resized_mask_stays_between_0_and_1(height: int, width: int, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((20, 20)) > 0.5).astype(np.uint8) * 255
    out = paste_masks([(mask, (0, 0, width, height))], (height, width))
    assert out.shape == (height, width)
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_no_masks_are_an_empty_alpha() -> None:
    assert not paste_masks([], (5, 7)).any()
