"""The metrics against small cases worked out by hand, and against slow implementations written from the definitions."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.evaluation import metrics

Plane = npt.NDArray[np.float32]


def random_alpha(seed: int, shape: tuple[int, int] = (19, 26)) -> npt.NDArray[np.uint8]:
    """Blobs with soft edges, holes and islands, in 8 bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    field = np.zeros(shape)
    for _ in range(5):
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(2, 6)
        field = np.maximum(field, np.clip(1.6 - np.hypot(y - cy, x - cx) / r, 0, 1))
    field = np.clip(field + rng.normal(0, 0.15, shape) * (rng.random(shape) < 0.3), 0, 1)
    return np.rint(field * 255).astype(np.uint8)


def slow_gradient_error(alpha: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> float:
    """The full 9x9 kernel and a loop over all pixels; kernel and frame as the published code has them."""
    sigma = 1.4
    half = 4
    kernel = np.zeros((9, 9))
    for i in range(-half, half + 1):
        for j in range(-half, half + 1):
            gauss_i = math.exp(-(i**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            gauss_j = math.exp(-(j**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            kernel[i + half, j + half] = gauss_i * (-j * gauss_j / sigma**2)
    kernel /= math.sqrt(float((kernel**2).sum()))
    height, width = alpha.shape

    def length(image: npt.NDArray[np.float64], y: int, x: int) -> float:
        across = down = 0.0
        for i in range(-half, half + 1):
            for j in range(-half, half + 1):
                value = image[min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)]
                across += value * kernel[half - i, half - j]
                down += value * kernel.T[half - i, half - j]
        return math.hypot(across, down)

    return sum((length(alpha, y, x) - length(truth, y, x)) ** 2 for y in range(height) for x in range(width))


def slow_connectivity_error(alpha: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> float:
    """A flood fill for every threshold, in whole numbers, so that no threshold is missed by rounding."""
    height, width = alpha.shape
    level = {(y, x): None for y in range(height) for x in range(width)}
    last: dict[tuple[int, int], float] = {}
    for step in range(1, 11):
        inside = {p for p in level if 10 * int(alpha[p]) >= 255 * step and 10 * int(truth[p]) >= 255 * step}
        best: set[tuple[int, int]] = set()
        left = set(inside)
        for start in sorted(inside):
            if start not in left:
                continue
            region, queue = {start}, deque([start])
            left.discard(start)
            while queue:
                y, x = queue.popleft()
                for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if near in left:
                        left.discard(near)
                        region.add(near)
                        queue.append(near)
            if len(region) > len(best):
                best = region
        for p in level:
            if p not in last and p not in best:
                last[p] = (step - 1) / 10
    total = 0.0
    for p in level:
        parts = []
        for values in (alpha, truth):
            d = int(values[p]) / 255 - last.get(p, 1.0)
            parts.append(1 - (d if d >= 0.15 else 0.0))
        total += abs(parts[0] - parts[1])
    return total


@pytest.mark.parametrize("seed", range(6))
def test_conn_is_that_of_a_flood_fill_for_every_threshold(seed: int) -> None:
    alpha, truth = random_alpha(seed), random_alpha(seed + 100)
    expected = slow_connectivity_error(alpha, truth)
    assert expected > 1
    assert metrics.connectivity_error(alpha, truth) * 1000 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_grad_is_that_of_the_full_kernel_in_a_loop(seed: int) -> None:
    alpha, truth = random_alpha(seed), random_alpha(seed + 100)
    expected = slow_gradient_error(alpha / 255, truth / 255)
    assert metrics.gradient_error(alpha, truth) * 1000 == pytest.approx(expected, rel=1e-4)


def test_grad_of_a_step_that_was_missed_is_the_sum_of_its_squared_gradients() -> None:
    # Along the step's normal the slopes are sums of the kernel's tails, on all rows alike.
    truth = np.zeros((20, 40), np.float32)
    truth[:, 20:] = 1
    x = np.arange(-4, 5)
    smooth, slope = np.exp(-(x**2) / 3.92), -x * np.exp(-(x**2) / 3.92)
    smooth, slope = smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)
    lengths = [abs(slope[k:].sum()) * smooth.sum() for k in range(1, 9)]
    expected = 20 * sum(length**2 for length in lengths)
    assert metrics.gradient_error(np.zeros_like(truth), truth) * 1000 == pytest.approx(expected, rel=1e-5)


def test_an_island_is_as_disconnected_as_it_is_opaque() -> None:
    truth = np.zeros((9, 20), np.float32)
    truth[2:7, 2:9] = 1
    alpha = truth.copy()
    alpha[4, 15] = 0.8  # in the matte only: never in the intersection, so its level is 0
    alpha[4, 17] = 0.1  # under the tolerance of 0.15
    assert metrics.connectivity_error(alpha, truth) * 1000 == pytest.approx(0.8)


def test_a_second_region_in_both_is_wrong_in_neither() -> None:
    truth = np.zeros((9, 20), np.float32)
    truth[2:7, 2:9] = 1
    truth[4, 15] = 1
    assert metrics.connectivity_error(truth, truth) == 0
    alpha = truth.copy()
    alpha[4, 15] = 0.5  # level 0 for both: phi 0.5 against 0
    assert metrics.connectivity_error(alpha, truth) * 1000 == pytest.approx(0.5)


def test_corners_do_not_connect() -> None:
    truth = np.zeros((6, 6), np.float32)
    truth[0:3, 0:3] = 1
    truth[3, 3] = 1
    alpha = truth.copy()
    alpha[3, 3] = 0.7
    assert metrics.connectivity_error(alpha, truth) * 1000 == pytest.approx(0.3)


def test_simple_scores_by_hand() -> None:
    truth = np.array([[1, 1, 0, 0], [1, 0.5, 0, 0]], np.float32)
    alpha = np.array([[1, 0.4, 0, 0], [1, 0.5, 0.6, 0]], np.float32)
    assert metrics.iou(alpha, truth) == pytest.approx(3 / 5)
    assert metrics.sad(alpha, truth) == pytest.approx(1.2e-3)
    assert metrics.mae(alpha, truth) == pytest.approx(1.2 / 8)
    assert metrics.mse(alpha, truth) == pytest.approx((0.36 + 0.36) / 8)


def test_pixels_that_do_not_count_are_in_no_score() -> None:
    truth = np.array([[1, 1, 0, 0]], np.float32)
    alpha = np.array([[1, 0, 0, 1]], np.float32)
    counted = np.array([[True, True, True, False]])
    whole, _ = metrics.matte_scores(alpha, truth, counted, soft_truth=False)
    assert (whole.iou, whole.mae, whole.mse) == (pytest.approx(1 / 2), pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert whole.sad == pytest.approx(1e-3)


def test_the_band_scores_are_those_of_its_pixels_and_the_maps_are_of_the_whole() -> None:
    alpha, truth = random_alpha(1), random_alpha(101)
    band = np.zeros(alpha.shape, bool)
    band[5:12, 4:20] = True
    whole, inside = metrics.matte_scores(alpha, truth, band=band)
    _, outside = metrics.matte_scores(alpha, truth, band=~band)
    for name in ("sad", "grad", "conn"):
        parts = (getattr(inside, name), getattr(outside, name))
        assert all(part > 0 for part in parts)
        assert sum(parts) == pytest.approx(getattr(whole, name), rel=1e-5)
    assert inside.mae == pytest.approx(np.abs(alpha / 255.0 - truth / 255.0)[band].mean(), rel=1e-5)


def test_a_band_without_pixels_has_no_scores() -> None:
    alpha = random_alpha(3)
    _, inside = metrics.matte_scores(alpha, alpha, band=np.zeros(alpha.shape, bool))
    assert [getattr(inside, name) for name in metrics.METRICS] == [None] * 6


def test_a_mask_has_neither_grad_nor_conn() -> None:
    alpha = random_alpha(3)
    whole, _ = metrics.matte_scores(alpha, (alpha > 127).astype(np.float32), soft_truth=False)
    assert (whole.grad, whole.conn) == (None, None)
    assert whole.sad is not None


def test_nothing_found_where_nothing_is_is_right() -> None:
    empty = np.zeros((5, 7), np.float32)
    whole, _ = metrics.matte_scores(empty, empty)
    assert [getattr(whole, name) for name in metrics.METRICS] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_other_sizes_are_an_error() -> None:
    with pytest.raises(ValueError, match="not of one size"):
        metrics.matte_scores(np.zeros((4, 5), np.float32), np.zeros((5, 4), np.float32))
