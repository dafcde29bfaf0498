"""Random walker with a prior: exact against a dense solve, marks, edges, the prior alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.kernels.random_walker import random_walker

FREE = 128


def _marks(
    shape: tuple[int, int], keep: tuple[int, int] | None, remove: tuple[int, int] | None
) -> npt.NDArray[np.uint8]:
    marks = np.full(shape, FREE, np.uint8)
    if keep is not None:
        marks[keep] = 255
    if remove is not None:
        marks[remove] = 0
    return marks


def _dense(
    features: npt.NDArray[np.float64],
    prior: npt.NDArray[np.float64],
    trust: npt.NDArray[np.float64],
    marks: npt.NDArray[np.uint8],
    beta: float,
) -> npt.NDArray[np.float64]:
    """The same minimum by a dense linear solve."""
    height, width = marks.shape
    index = np.arange(height * width).reshape(height, width)
    matrix = np.diag(trust.ravel()).astype(float)
    flat = features.reshape(height * width, -1)
    for one, other in ((index[:, 1:], index[:, :-1]), (index[1:], index[:-1])):
        for i, j in zip(one.ravel(), other.ravel(), strict=True):
            weight = np.exp(-beta * float(((flat[i] - flat[j]) ** 2).sum())) + 1e-4
            matrix[i, i] += weight
            matrix[j, j] += weight
            matrix[i, j] -= weight
            matrix[j, i] -= weight
    right = (trust * prior).ravel()
    fixed = np.isin(marks.ravel(), (0, 255))
    values = (marks.ravel() == 255).astype(float)
    out = values.copy()
    free = ~fixed
    out[free] = np.linalg.solve(matrix[np.ix_(free, free)], (right - matrix @ (values * fixed))[free])
    return out.reshape(height, width)


@pytest.mark.parametrize("shape", [(9, 14), (1, 20)])
def test_it_agrees_with_a_dense_solve(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    features, prior = rng.random((*shape, 3)), rng.random(shape)
    trust = 0.05 * rng.random(shape)
    marks = _marks(shape, (0, 1), (shape[0] - 1, shape[1] - 1))
    found = random_walker(features, prior, trust, marks, beta=4.0, tolerance=1e-6)
    np.testing.assert_allclose(found, _dense(features, prior, trust, marks, 4.0), atol=1e-4)


def test_the_start_at_half_the_size_leads_to_the_same_answer() -> None:
    rng = np.random.default_rng(1)
    shape = (120, 130)
    features = np.zeros((*shape, 1), np.float32)
    features[:, 60:] = 1.0
    prior = rng.random(shape)
    found = random_walker(features, prior, np.full(shape, 0.01), _marks(shape, (10, 10), (100, 120)), tolerance=1e-6)
    # A tall solve is too large for a dense check: its residual is not.
    assert found[50, 30] > found[50, 100]
    again = random_walker(features, found, np.full(shape, 1e6), _marks(shape, None, None))
    np.testing.assert_allclose(again, found, atol=1e-4)


def test_marks_stand_and_an_edge_parts_them() -> None:
    features = np.zeros((30, 30, 1))
    features[:, 15:] = 1.0
    marks = np.full((30, 30), FREE, np.uint8)
    marks[4:12, 2] = 255
    marks[20:28, 27] = 0
    found = random_walker(features, np.full((30, 30), 0.5), np.full((30, 30), 1e-5), marks, 50.0, 1e-7)
    assert (found[4:12, 2] == 1.0).all()
    assert (found[20:28, 27] == 0.0).all()
    assert found[:, :15].min() > 0.9
    assert found[:, 15:].max() < 0.1


def test_through_a_gap_less_leaks_than_over_open_ground() -> None:
    features = np.zeros((31, 31, 1))
    features[:, 15] = 1.0
    prior, trust, marks = np.zeros((31, 31)), np.full((31, 31), 1e-3), _marks((31, 31), (15, 2), None)
    open_ground = random_walker(np.zeros((31, 31, 1)), prior, trust, marks, beta=50.0)
    features[0:2, 15] = 0.0
    gap = random_walker(features, prior, trust, marks, beta=50.0)
    assert 0.0 < gap[15, 25] < 0.2 * open_ground[15, 25]


def test_of_equal_colours_the_nearer_mark_wins() -> None:
    flat = np.zeros((11, 41, 3))
    found = random_walker(flat, np.full((11, 41), 0.5), np.full((11, 41), 1e-6), _marks((11, 41), (5, 3), (5, 37)))
    assert found[5, 10] > 0.5 > found[5, 30]
    assert found[5, 20] == pytest.approx(0.5, abs=0.02)


def test_without_marks_a_trusted_prior_is_the_answer_and_a_doubted_one_is_smoothed() -> None:
    rng = np.random.default_rng(2)
    prior = rng.random((20, 20))
    flat = np.zeros((20, 20, 1))
    sure = random_walker(flat, prior, np.full((20, 20), 1e5), _marks((20, 20), None, None))
    np.testing.assert_allclose(sure, prior, atol=1e-3)
    smooth = random_walker(flat, prior, np.full((20, 20), 1e-2), _marks((20, 20), None, None))
    assert smooth.std() < 0.3 * prior.std()
    assert smooth.mean() == pytest.approx(prior.mean(), abs=0.01)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="not of one size"):
        random_walker(np.zeros((4, 4, 1)), np.zeros((4, 5)), np.zeros((4, 4)), np.full((4, 4), FREE, np.uint8))
