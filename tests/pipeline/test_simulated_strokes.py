"""The simulated person of the strokes benchmark draws as said: in the largest wrong region, along its middle."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from simulated_strokes import LONGEST, WIDTH, next_stroke

SHAPE = (300, 400)
ALL = np.ones(SHAPE, bool)


def _boxes(*boxes: tuple[int, int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros(SHAPE, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_the_larger_error_is_corrected_first_and_by_its_own_colour() -> None:
    truth, result = _boxes((20, 20, 80, 280)), _boxes((200, 20, 380, 280))
    stroke = next_stroke(result, truth, ALL)
    assert stroke is not None
    assert not stroke.keep
    assert not np.any(stroke.pixels & ~result)
    stroke = next_stroke(truth & False, truth, ALL)
    assert stroke is not None
    assert stroke.keep
    assert not np.any(stroke.pixels & ~truth)


def test_a_stroke_runs_along_the_middle_no_longer_and_wider_than_said() -> None:
    stroke = next_stroke(_boxes(), _boxes((10, 100, 390, 160)), ALL)
    assert stroke is not None
    rows, columns = np.nonzero(stroke.pixels)
    assert abs(rows.mean() - 130) < 6
    assert abs(columns.mean() - 200) < 20
    assert 0.7 * LONGEST * 400 < np.ptp(columns) <= (LONGEST + WIDTH) * 400 + 2
    assert np.median(stroke.pixels.sum(axis=0)[stroke.pixels.any(axis=0)]) == pytest.approx(WIDTH * 400, abs=2)


def test_a_stroke_follows_a_bend_and_stays_inside() -> None:
    truth = _boxes((40, 40, 60, 140), (40, 120, 140, 140))
    stroke = next_stroke(_boxes(), truth, ALL)
    assert stroke is not None
    assert not np.any(stroke.pixels & ~truth)
    rows, columns = np.nonzero(stroke.pixels)
    assert np.ptp(rows) > 20
    assert np.ptp(columns) > 20


def test_where_the_truth_does_not_say_nothing_is_wrong() -> None:
    truth = _boxes((40, 40, 60, 140))
    assert next_stroke(truth, truth, ALL) is None
    assert next_stroke(_boxes(), truth, ~truth) is None
