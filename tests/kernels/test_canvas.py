"""A subject on a canvas: as large as fits, in the middle, without a fringe."""

from __future__ import annotations

import numpy as np
import pytest
from finishing_shapes import blurred, distance

from mattemill.kernels.canvas import place, place_colours, place_plane
from mattemill.kernels.compose import compose_over


def box(plane: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(plane >= 0.1)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def subject(height: int = 300, width: int = 400) -> np.ndarray:
    """An upright ellipse left of the middle: 120 wide, 200 high."""
    y, x = np.mgrid[0:height, 0:width]
    return blurred(((x - 130) / 60) ** 2 + ((y - 140) / 100) ** 2 < 1)


@pytest.mark.parametrize(("size", "margin"), [((200, 200), 10), ((300, 120), 6), ((90, 400), 0), ((64, 64), 20)])
def test_the_subject_is_as_large_as_the_margins_leave_room_and_in_the_middle(
    size: tuple[int, int], margin: int
) -> None:
    alpha = subject()
    placed = place_plane(alpha, place(alpha, size, margin, upscale=False), size)
    assert placed.shape == size[::-1]
    x0, y0, x1, y1 = box(placed)
    assert abs((x0 + x1) / 2 - size[0] / 2) <= 1
    assert abs((y0 + y1) / 2 - size[1] / 2) <= 1
    room = (size[0] - 2 * margin, size[1] - 2 * margin)
    assert min(room[0] - (x1 - x0), room[1] - (y1 - y0)) <= 2
    assert x1 - x0 <= room[0] + 2
    assert y1 - y0 <= room[1] + 2


def test_a_small_subject_keeps_its_own_pixels() -> None:
    alpha = subject()
    placed = place_plane(alpha, place(alpha, (1000, 900), 50, upscale=False), (1000, 900))
    assert placed.sum() == pytest.approx(alpha.sum())
    x0, y0, x1, y1 = box(placed)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((500, 450), abs=0.5)


def test_with_upscale_it_grows_to_the_margins() -> None:
    alpha = subject()
    placed = place_plane(alpha, place(alpha, (1000, 900), 50, upscale=True), (1000, 900))
    _, y0, _, y1 = box(placed)
    assert abs((y1 - y0) - 800) <= 4
    assert placed.max() == 1
    assert placed.min() == 0


@pytest.mark.parametrize("size", [(150, 150), (700, 700)])
def test_scaling_draws_no_colour_from_under_the_matte_into_the_edge(size: tuple[int, int]) -> None:
    """Red in the subject, green wherever alpha is 0: laid on red, nothing of it may be seen."""
    alpha = subject()
    front = np.where(alpha[..., None] > 0, np.uint8([220, 30, 20]), np.uint8([0, 255, 0])).astype(np.uint8)
    colours, placed = place_colours(front, alpha, place(alpha, size, 10, upscale=True), size)
    laid = compose_over(colours, placed, np.uint8([220, 30, 20]))
    assert np.abs(laid.astype(int) - [220, 30, 20]).max() <= 2


def test_what_fills_the_frame_ends_at_the_frame_without_a_dark_rim() -> None:
    front = np.full((100, 100, 3), 180, np.uint8)
    alpha = np.ones((100, 100), np.float32)
    colours, placed = place_colours(front, alpha, place(alpha, (90, 70), 10, upscale=False), (90, 70))
    assert (colours == 180).all()
    assert placed.sum() == pytest.approx(50 * 50)


def test_colours_and_plane_lie_in_the_same_place() -> None:
    alpha = subject()
    front = np.full((*alpha.shape, 3), 90, np.uint8)
    where = place(alpha, (160, 160), 8, upscale=False)
    _, placed = place_colours(front, alpha, where, (160, 160))
    assert np.abs(placed - place_plane(alpha, where, (160, 160))).max() < 0.01


def test_what_lies_around_the_subject_comes_along_as_far_as_the_canvas_goes() -> None:
    alpha = subject()
    ground = np.ones_like(alpha)
    where = place(alpha, (1000, 1000), 0, upscale=False)
    assert place_plane(ground, where, (1000, 1000)).sum() == ground.size
    tight = place(alpha, (60, 60), 0, upscale=False)
    assert (place_plane(ground, tight, (60, 60)) == 1).all()


def test_without_a_subject_the_frame_itself_is_fitted() -> None:
    empty = np.zeros((100, 200), np.float32)
    assert place(empty, (100, 100), 0, upscale=False) == ((0, 0, 200, 100), (0, 25, 100, 75))


def test_a_margin_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing"):
        place(subject(), (100, 50), 25, upscale=False)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 700)])
@pytest.mark.parametrize("size", [(1, 1), (20, 30), (1000, 10)])
@pytest.mark.parametrize("upscale", [False, True])
def test_every_size_gives_a_canvas_of_the_right_shape(
    shape: tuple[int, int], size: tuple[int, int], upscale: bool
) -> None:
    alpha = np.ones(shape, np.float32)
    where = place(alpha, size, 0, upscale=upscale)
    colours, placed = place_colours(np.full((*shape, 3), 7, np.uint8), alpha, where, size)
    assert colours.shape == (size[1], size[0], 3)
    assert placed.shape == (size[1], size[0])
    assert placed.max() == 1


def test_a_disc_stays_round() -> None:
    alpha = blurred(distance(400, 600, 300, 200) < 150)
    placed = place_plane(alpha, place(alpha, (333, 500), 17, upscale=False), (333, 500))
    x0, y0, x1, y1 = box(placed)
    assert abs((x1 - x0) - (y1 - y0)) <= 1
