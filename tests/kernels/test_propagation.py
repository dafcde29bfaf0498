"""Strokes over a prior, and a trimap into its band, on pictures made by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.kernels.propagation import colours, fill_band, propagate, reduce_marks

SHAPE = (96, 128)
LEFT, RIGHT = (slice(20, 76), slice(10, 50)), (slice(20, 76), slice(78, 118))
Marks = npt.NDArray[np.uint8]


@pytest.fixture
def two_boxes() -> npt.NDArray[np.uint8]:
    """A red and a blue box on grey with grain."""
    image = np.full((*SHAPE, 3), 150.0)
    image[LEFT] = (190, 60, 50)
    image[RIGHT] = (50, 70, 190)
    image += np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _marks(keep: tuple[slice, slice] | None = None, remove: tuple[slice, slice] | None = None) -> Marks:
    marks = np.full(SHAPE, 128, np.uint8)
    if keep is not None:
        marks[keep] = 255
    if remove is not None:
        marks[remove] = 0
    return marks


def _prior(*boxes: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    prior = np.zeros(SHAPE, np.float32)
    for box in boxes:
        prior[box] = 1.0
    return prior


def test_a_stroke_on_one_of_two_salient_things_removes_it_and_leaves_the_other(two_boxes: Marks) -> None:
    mask, _ = propagate(colours(two_boxes), _prior(LEFT, RIGHT), _marks(remove=(slice(46, 50), slice(85, 110))))
    assert mask[RIGHT].max() < 0.5
    assert mask[LEFT].mean() > 0.95


def test_a_stroke_on_a_thing_that_was_missed_takes_it_up_to_its_edge(two_boxes: Marks) -> None:
    mask, _ = propagate(colours(two_boxes), _prior(LEFT), _marks(keep=(slice(46, 50), slice(85, 110))))
    assert mask[RIGHT].min() > 0.5
    assert mask[LEFT].mean() > 0.95
    around = np.ones(SHAPE, bool)
    around[LEFT] = around[RIGHT] = False
    assert (mask[around] >= 0.5).mean() < 0.1


def test_strokes_that_contradict_the_prior_share_it_at_the_edge_between_them(two_boxes: Marks) -> None:
    marks = _marks(keep=(slice(46, 50), slice(85, 110)), remove=(slice(46, 50), slice(15, 45)))
    mask, _ = propagate(colours(two_boxes), _prior(LEFT), marks)
    assert mask[LEFT].max() < 0.5
    assert mask[RIGHT].min() > 0.5


def test_where_nothing_is_marked_nothing_changes(two_boxes: Marks) -> None:
    followed, not_followed = propagate(colours(two_boxes), _prior(LEFT, RIGHT), _marks())
    np.testing.assert_allclose(followed, not_followed, atol=0.02)


def test_a_short_stroke_reaches_less_far_than_a_long_one() -> None:
    flat, prior = colours(np.full((*SHAPE, 3), 120, np.uint8)), np.zeros(SHAPE, np.float32)
    dot, _ = propagate(flat, prior, _marks(keep=(slice(46, 50), slice(62, 66))))
    line, _ = propagate(flat, prior, _marks(keep=(slice(46, 50), slice(40, 88))))
    assert dot[48, 64] == line[48, 64] == 1.0
    assert dot[:, 64].sum() < 0.7 * line[:, 64].sum()


def test_equal_colours_are_parted_by_the_prior_alone() -> None:
    flat = colours(np.full((*SHAPE, 3), 120, np.uint8))
    mask, _ = propagate(flat, _prior(LEFT, RIGHT), _marks(remove=(slice(46, 50), slice(85, 110))))
    assert mask[RIGHT].mean() < 0.2
    assert mask[LEFT].mean() > 0.8


def test_marks_are_kept_exactly(two_boxes: Marks) -> None:
    rng = np.random.default_rng(1)
    marks = rng.choice(np.array([0, 128, 255], np.uint8), SHAPE, p=[0.05, 0.9, 0.05])
    mask, _ = propagate(colours(two_boxes), _prior(LEFT), marks)
    assert (mask[marks == 255] == 1.0).all()
    assert (mask[marks == 0] == 0.0).all()


def test_a_band_is_filled_from_both_sides_up_to_the_edge_in_it(two_boxes: Marks) -> None:
    marks = np.zeros(SHAPE, np.uint8)
    marks[10:86, 0:60] = 128
    marks[30:66, 20:40] = 255
    filled = fill_band(colours(two_boxes), marks)
    assert filled[LEFT].mean() > 0.9
    assert filled[12:18, 5:55].max() < 0.5
    assert (filled[:, 70:] == 0).all()


def test_a_stroke_thinner_than_a_small_pixel_stays_whole_and_a_wide_one_does_not_grow() -> None:
    marks = np.full((1000, 2000), 128, np.uint8)
    marks[500, 200:1800] = 255
    small = reduce_marks(marks, (100, 50))
    assert (small[25, 10:90] == 255).all()
    assert (small == 255).sum() == 80
    marks[600:700, 200:1800] = 0
    small = reduce_marks(marks, (100, 50))
    assert (small == 0).sum() == 5 * 80
    assert (small[25, 10:90] == 255).all()
    assert set(np.unique(reduce_marks(np.full((7, 9), 128, np.uint8), (3, 2)))) == {128}
