"""Differences that may be luck, and scores that may be trusted, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from mattemill.pipeline.evaluation.bootstrap import paired_difference
from mattemill.pipeline.evaluation.trust import trust


def test_a_constant_gain_is_sure_and_has_no_width() -> None:
    found = paired_difference([([0.2, 0.5, 0.9], [0.3, 0.6, 1.0])])
    assert (found.n, found.sure) == (3, True)
    assert [found.mean, found.low, found.high] == pytest.approx([0.1, 0.1, 0.1])


def test_the_interval_has_the_width_that_theory_gives() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(0, 1, 400)
    b = a + rng.normal(0.05, 0.2, 400)
    found = paired_difference([(a.tolist(), b.tolist())])
    half = 1.96 * float(np.std(b - a)) / 20
    assert found.low == pytest.approx(found.mean - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.15 * half)


def test_sets_keep_their_share_when_photographs_are_drawn() -> None:
    # All of the spread lies between the sets: drawn within each, the mean cannot move.
    found = paired_difference([([0.0] * 10, [1.0] * 10), ([0.0] * 30, [-1.0] * 30)])
    assert [found.mean, found.low, found.high] == pytest.approx([-0.5, -0.5, -0.5])


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    rng = np.random.default_rng(2)
    groups = [(rng.random(50).tolist(), rng.random(50).tolist())]
    assert paired_difference(groups) == paired_difference(groups)
    assert paired_difference(groups, seed=1) != paired_difference(groups)


def test_one_photograph_has_no_interval_and_is_never_sure() -> None:
    found = paired_difference([([0.0], [0.4]), ([], [])])
    assert (found.mean, found.low, found.high, found.sure) == (0.4, None, None, False)


def test_noise_is_not_sure() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(30), rng.random(30)
    assert not paired_difference([(a.tolist(), b.tolist())]).sure


def test_what_is_not_paired_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 photographs and b 1"):
        paired_difference([([0.1, 0.2], [0.1])])
    with pytest.raises(ValueError, match="no photograph"):
        paired_difference([([], [])])


def test_trust_by_hand() -> None:
    # Bad ones at .1 and .6; good ones at .5, .9, .95: of 6 pairs 5 are in order.
    found = trust([0.1, 0.6, 0.5, 0.9, 0.95], [0.3, 0.8, 0.85, 0.9, 0.99])
    assert found is not None
    assert (found.n, found.bad) == (5, 2)
    assert found.auc == pytest.approx(5 / 6)
    gaps = [abs(0.1 - 0), abs(0.5 - 1), abs(0.6 - 0), 2 * abs(0.925 - 1)]
    assert found.ece == pytest.approx(sum(gaps) / 5)
    assert [at for at, _ in found.curve] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert [caught for _, caught in found.curve] == pytest.approx([0, 0.5, 0.5, 1, 1, 1])
    at_20 = next(each for each in found.catches if each.refused == pytest.approx(0.2))
    assert (at_20.caught, at_20.right, at_20.threshold) == (0.5, 1.0, 0.5)


def test_ties_count_half_and_all_alike_have_no_auc() -> None:
    tied = trust([0.5, 0.5], [0.2, 0.9])
    assert tied is not None
    assert tied.auc == 0.5
    alike = trust([0.1, 0.9], [0.9, 0.95])
    assert alike is not None
    assert (alike.auc, alike.catches) == (None, ())
    assert trust([], []) is None


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    found = trust([1.0, 0.0], [0.9, 0.1])
    assert found is not None
    assert [(each.n, each.confidence, each.good) for each in found.bins] == [(1, 0.0, 0.0), (1, 1.0, 1.0)]
    assert found.ece == 0
