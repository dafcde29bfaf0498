"""Looks: seen through windows, merged, and which of them are believed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.looks import Look, consensus, doubt, haze, merged, overlap, seen

_FRAME = (0, 0, 640, 480)


def _disc(radius: float, x: float = 159.5, level: int = 255) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[0:320, 0:320]
    return np.where(np.hypot(columns - x, rows - 159.5) < radius, level, 0).astype(np.uint8)


def test_a_crop_is_seen_where_it_lies_and_not_beyond() -> None:
    crop = Look(np.full((320, 320), 255, np.uint8), (160, 120, 480, 360))
    values, covered = seen(crop, _FRAME, (480, 640))
    assert covered.sum() == 320 * 240
    assert covered[120, 160] == 1
    assert covered[119, 160] == 0
    assert values[300, 300] == 1


def test_the_mean_is_of_the_looks_that_cover_a_pixel() -> None:
    frame = Look(np.tile(np.linspace(0, 255, 320).astype(np.uint8), (320, 1)), _FRAME)
    crop = Look(np.zeros((320, 320), np.uint8), (0, 0, 320, 480), weight=3.0)
    mean = merged([frame, crop], _FRAME, (320, 320))
    alone = merged([frame], _FRAME, (320, 320))
    assert mean[5, 140] == pytest.approx(alone[5, 140] / 4, abs=0.01)
    np.testing.assert_allclose(mean[:, 170:], alone[:, 170:], atol=0.01)


def test_a_look_that_is_sure_of_nothing_counts_little() -> None:
    sure, unsure = Look(_disc(60, x=90), _FRAME), Look(_disc(60, x=260), _FRAME, peak=0.1)
    mean = merged([sure, unsure], _FRAME, (320, 320))
    assert mean[160, 100] == pytest.approx(1, abs=0.01)
    assert mean[160, 300] < 0.15


def test_the_look_with_the_least_haze_is_believed_with_those_that_agree() -> None:
    clean, alike = Look(_disc(80), _FRAME), Look(_disc(83), _FRAME)
    hazy = Look(np.maximum(_disc(80, x=240), 60).astype(np.uint8), _FRAME)
    found = consensus([hazy, alike, clean], _FRAME, (320, 320))
    assert set(map(id, found.looks)) == {id(clean), id(alike)}
    assert 0.4 < found.agreement < 0.9, "the mean over one that agrees and one that does not"
    assert found.haze == 0
    assert consensus([hazy], _FRAME, (320, 320)).agreement == 1.0


def test_haze_is_outside_and_doubt_everywhere() -> None:
    soft = np.zeros((10, 10), np.float32)
    soft[:5] = 1.0
    assert (haze(soft), doubt(soft)) == (0.0, 0.0)
    soft[0] = 0.75
    assert haze(soft) == 0.0
    assert doubt(soft) == pytest.approx(10 * 0.5 / 50)
    soft[9] = 0.25
    assert haze(soft) == pytest.approx(10 * 0.5 / 50)


def test_a_map_of_nothing_is_all_doubt_and_never_believed_against_a_subject() -> None:
    nothing = Look(np.zeros((320, 320), np.uint8), _FRAME)
    disc = Look(np.maximum(_disc(80), 100).astype(np.uint8), _FRAME)
    assert haze(np.zeros((4, 4), np.float32)) == doubt(np.zeros((4, 4), np.float32)) == 16
    assert consensus([nothing, disc], _FRAME, (320, 320)).looks == (disc,)


def test_overlap_is_one_for_the_same_and_nought_for_strangers() -> None:
    left, right = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    left[:, :2], right[:, 2:] = 0.8, 0.8
    assert overlap(left, left) == 1.0
    assert overlap(left, right) == 0.0
    assert overlap(left, np.full((4, 4), 0.8, np.float32)) == pytest.approx(0.5)
    assert overlap(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)) == 0.0


def test_a_flat_mean_is_no_subject() -> None:
    assert not merged([Look(np.full((8, 8), 99, np.uint8), _FRAME)], _FRAME, (8, 8)).any()
