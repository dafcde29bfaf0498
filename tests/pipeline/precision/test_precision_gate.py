"""The gate's decision, on scores that are given."""

from __future__ import annotations

from math import nan

import pytest

from mattemill.pipeline.precision.gate import PhotoScores, judge


def scores(*pairs: tuple[float, float]) -> list[PhotoScores]:
    return [PhotoScores(f"set/{i}", iou, sad) for i, (iou, sad) in enumerate(pairs)]


BASE = scores((0.9, 10.0), (0.8, 20.0), (0.7, 30.0))


def test_the_same_scores_pass_without_any_tolerance():
    verdict = judge(BASE, BASE, 0.0)

    assert verdict.passed
    assert verdict.sure
    assert (verdict.iou_loss.low, verdict.iou_loss.high) == (0.0, 0.0)


def test_losses_are_of_the_means_and_relative_to_the_base():
    verdict = judge(BASE, scores((0.9, 10.0), (0.8, 20.0), (0.46, 36.0)), 0.11)

    assert verdict.iou_loss.mean == pytest.approx(0.1)
    assert verdict.sad_rise.mean == pytest.approx(0.1)
    assert verdict.passed


@pytest.mark.parametrize(
    ("other", "blamed"),
    [
        (scores((0.8, 10.0), (0.7, 20.0), (0.6, 30.0)), "its IoU:"),
        (scores((0.9, 12.0), (0.8, 24.0), (0.7, 30.0)), "its SAD:"),
        (scores((0.0, 90.0), (0.0, 90.0), (0.0, 90.0)), "its IoU and SAD:"),
    ],
)
def test_what_breaks_the_tolerance_is_refused_by_name(other: list[PhotoScores], blamed: str):
    verdict = judge(BASE, other, 0.05)

    assert not verdict.passed
    assert blamed in verdict.why


def test_a_loss_that_is_not_a_number_is_refused():
    assert not judge(BASE, scores((nan, nan), (0.8, 20.0), (0.7, 30.0)), 0.5).passed


def test_a_pass_that_hangs_on_one_photograph_is_not_sure():
    verdict = judge(BASE, scores((0.9, 10.0), (0.8, 20.0), (0.65, 32.0)), 0.05)

    assert verdict.passed
    assert not verdict.sure
    assert "more photographs" in verdict.why


def test_one_photograph_has_no_interval():
    verdict = judge(BASE[:1], BASE[:1], 0.05)

    assert verdict.iou_loss.high is None
    assert not verdict.sure


def test_scores_of_other_photographs_are_not_compared():
    with pytest.raises(ValueError, match="same photographs"):
        judge(BASE, BASE[::-1], 0.05)
    with pytest.raises(ValueError, match="at least one"):
        judge([], [], 0.05)
