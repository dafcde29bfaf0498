"""Which parts of a map are the main subject."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.kernels.parts import nearest_kept, rank_parts


def _squares(*places: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """A map of 200x200 with squares (left, top, side) at 1."""
    soft = np.zeros((200, 200), np.float32)
    for left, top, side in places:
        soft[top : top + side, left : left + side] = 1.0
    return soft


def _kept(*places: tuple[int, int, int]) -> list[bool]:
    """Of the parts, in the order in which the scan finds them (top to bottom)."""
    parts = rank_parts(_squares(*places), 0.5)
    return list(parts.main(0.4))


def test_a_pair_is_one_subject() -> None:
    assert _kept((30, 80, 40), (130, 80, 40)) == [True, True]


def test_what_is_smaller_and_further_off_is_another_thing() -> None:
    assert _kept((150, 20, 40), (70, 70, 60)) == [False, True]


def test_a_small_piece_beside_the_subject_belongs_to_it_and_one_far_off_does_not() -> None:
    assert _kept((70, 70, 60), (134, 90, 12)) == [True, True]
    assert _kept((70, 70, 60), (180, 90, 12)) == [True, False]


def test_the_rival_is_the_second_rank_over_the_first() -> None:
    assert rank_parts(_squares((80, 80, 40)), 0.5).rival() == 0.0
    assert rank_parts(_squares((30, 80, 40), (130, 80, 40)), 0.5).rival() > 0.99
    assert rank_parts(_squares((0, 0, 40), (80, 80, 40)), 0.5).rival() < 0.1
    assert rank_parts(_squares(), 0.5).rival() == 0.0


def test_a_part_that_goes_takes_its_halo_along() -> None:
    soft = _squares((10, 80, 20), (80, 80, 60))
    soft[soft == 0] = 0.2
    parts = rank_parts(soft, 0.5)
    left = nearest_kept(parts, parts.main(0.4))
    assert not left[90, 20]
    assert not left[90, 35], "next to the part that goes"
    assert left[90, 75], "next to the part that stays"
    assert left[100, 100]


def test_the_box_is_around_the_parts_that_are_asked_for() -> None:
    parts = rank_parts(_squares((10, 20, 20), (80, 90, 60)), 0.5)
    assert parts.box(np.array([True, True])) == (10, 20, 140, 150)
    assert parts.box(np.array([False, True])) == (80, 90, 140, 150)
