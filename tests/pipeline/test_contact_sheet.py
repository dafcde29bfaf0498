"""The contact sheet shows what it is given."""

from __future__ import annotations

import numpy as np
import pytest

from mattemill.pipeline.contact_sheet import PANEL, CutTile, FailedTile, contact_sheet, cut_panels

PHOTO = np.full((300, 600, 3), (200, 30, 30), np.uint8)
ALPHA = np.zeros((300, 600), np.uint8)
ALPHA[:, 300:] = 255


def colours(image: object) -> set[tuple[int, ...]]:
    return {tuple(int(c) for c in pixel) for pixel in np.unique(np.asarray(image).reshape(-1, 3), axis=0)}


def test_the_panels_are_photo_matte_and_cut_out_fitted_into_their_square() -> None:
    photo, matte, cutout = cut_panels(PHOTO, ALPHA, (0, 0, 255))
    assert photo.shape == matte.shape == cutout.shape == (PANEL // 2, PANEL, 3)
    left, right = (PANEL // 4, 20), (PANEL // 4, PANEL - 20)
    assert (tuple(photo[left]), tuple(photo[right])) == ((200, 30, 30), (200, 30, 30))
    assert (tuple(matte[left]), tuple(matte[right])) == ((0, 0, 0), (255, 255, 255))
    assert (tuple(cutout[left]), tuple(cutout[right])) == ((0, 0, 255), (200, 30, 30))


def test_the_cut_out_takes_no_colour_of_the_old_background_along() -> None:
    photo = np.zeros((200, 200, 3), np.uint8)
    photo[:, :] = (0, 255, 0)
    alpha = np.zeros((200, 200), np.uint8)
    alpha[50:150, 50:150] = 255
    alpha[46:50, 50:150] = 128  # half the red subject, half the green ground
    photo[50:150, 50:150] = (255, 0, 0)
    photo[46:50, 50:150] = (127, 128, 0)
    cutout = cut_panels(photo, alpha, (0, 0, 255))[2]
    # On the edge at full sharpness: half red, half blue; naive compositing leaves a quarter of green there.
    assert cutout[: PANEL // 2, PANEL // 2, 1].max() < 40


def test_a_photo_and_a_matte_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="600x300 and matte 600x299 differ"):
        cut_panels(PHOTO, ALPHA[:-1], (0, 0, 0))


def test_a_sheet_has_a_card_for_every_tile() -> None:
    one = contact_sheet([CutTile("a.jpg", PHOTO, ALPHA)], "title")
    three = contact_sheet([CutTile("a.jpg", PHOTO, ALPHA)] * 3, "title")
    assert three.width == one.width
    assert three.height > one.height
    assert (200, 30, 30) in colours(one)


def test_a_failure_shows_its_preview_or_that_there_is_none() -> None:
    with_picture = contact_sheet([FailedTile("a.jpg", "truncated", "message", PHOTO)], "title")
    without = contact_sheet([FailedTile("a.jpg", "truncated", "message")], "title")
    assert (200, 30, 30) in colours(with_picture)
    assert (200, 30, 30) not in colours(without)
    assert (176, 42, 32) in colours(without), "the reason is written in red"


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_absurd_sizes_are_drawn(shape: tuple[int, int]) -> None:
    photo = np.zeros((*shape, 3), np.uint8)
    contact_sheet([CutTile("x" * 500, photo, np.zeros(shape, np.uint8), "y" * 500)], "title")


def test_a_long_message_and_unprintable_keys_do_not_break_the_sheet() -> None:
    contact_sheet([FailedTile("a\x00\n\u202e.jpg", "truncated", "word " * 300 + "w" * 400)], "title")
