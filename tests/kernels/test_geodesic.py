"""Geodesic distance: exact against a search on the graph, hills, soft marks."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.kernels.geodesic import geodesic_distance

Array = npt.NDArray[np.float64]


def _dijkstra(features: Array, start: Array, step: float) -> Array:
    """The same distances, by a search that visits pixel after pixel."""
    out = start.copy()
    heap = [(float(start[at]), at) for at in np.ndindex(start.shape) if np.isfinite(start[at])]
    heapq.heapify(heap)
    while heap:
        length, (y, x) = heapq.heappop(heap)
        if length > out[y, x]:
            continue
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            to = (y + dy, x + dx)
            if not (0 <= to[0] < out.shape[0] and 0 <= to[1] < out.shape[1]):
                continue
            hill = float(((features[to] - features[y, x]) ** 2).sum())
            further = length + float(np.sqrt(step * step * (dy * dy + dx * dx) + hill))
            if further < out[to]:
                out[to] = further
                heapq.heappush(heap, (further, to))
    return out


def _seed(shape: tuple[int, int], *at: tuple[int, int]) -> Array:
    start = np.full(shape, np.inf)
    for one in at:
        start[one] = 0.0
    return start


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_a_search_on_the_graph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.random((23, 31, 3))
    start = _seed((23, 31), (2, 3), (20, 30))
    np.testing.assert_allclose(geodesic_distance(features, start, 0.1), _dijkstra(features, start, 0.1), rtol=2e-3)


def test_on_flat_ground_it_is_the_distance_in_steps() -> None:
    distance = geodesic_distance(np.zeros((9, 9)), _seed((9, 9), (4, 4)))
    assert distance[4, 8] == pytest.approx(4)
    assert distance[0, 0] == pytest.approx(4 * np.sqrt(2))


def test_a_wall_with_a_gap_is_passed_through_the_gap_and_a_whole_wall_climbed() -> None:
    features = np.zeros((21, 21))
    features[:, 10] = 100.0
    whole = geodesic_distance(features, _seed((21, 21), (10, 0)))
    assert whole[10, 20] > 190  # up and down again
    features[0, 10] = 0.0
    gap = geodesic_distance(features, _seed((21, 21), (10, 0)))
    assert gap[10, 20] == pytest.approx(20 * np.sqrt(2), rel=1e-3)  # to the gap and back, both diagonally


def test_a_way_that_winds_is_found() -> None:
    features = np.zeros((41, 41))
    for row in range(2, 40, 4):
        features[row, :] = 1000.0
        features[row, 0 if row % 8 == 2 else -1] = 0.0
    distance = geodesic_distance(features, _seed((41, 41), (0, 20)))
    assert 200 < distance[40, 20] < 1000  # along every corridor, over no wall


def test_several_maps_of_marks_are_several_answers() -> None:
    rng = np.random.default_rng(3)
    features = rng.random((12, 15))
    one, other = _seed((12, 15), (0, 0)), _seed((12, 15), (11, 14))
    both = geodesic_distance(features, np.stack([one, other]))
    np.testing.assert_array_equal(both[0], geodesic_distance(features, one))
    np.testing.assert_array_equal(both[1], geodesic_distance(features, other))


def test_a_head_start_is_part_of_the_way_and_no_mark_leads_nowhere() -> None:
    start = _seed((5, 9), (2, 0))
    start[2, 8] = 5.0
    distance = geodesic_distance(np.zeros((5, 9)), start)
    assert distance[2, 7] == pytest.approx(6)
    assert distance[2, 6] == pytest.approx(6)
    assert np.isinf(geodesic_distance(np.zeros((5, 9)), _seed((5, 9)))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_single_row_or_column_has_its_distances(shape: tuple[int, int]) -> None:
    distance = geodesic_distance(np.zeros(shape), _seed(shape, (0, 0)))
    assert distance.max() == max(shape) - 1


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="not of one size"):
        geodesic_distance(np.zeros((4, 5)), np.zeros((5, 4)))
