from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mattemill.kernels.nms import nms


def iou(a: np.ndarray, b: np.ndarray) -> float:
    across = max(0.0, float(min(a[2], b[2])) - float(max(a[0], b[0])))
    down = max(0.0, float(min(a[3], b[3])) - float(max(a[1], b[1])))
    areas = [float(x[2] - x[0]) * float(x[3] - x[1]) for x in (a, b)]
    union = sum(areas) - across * down
    return across * down / union if union > 0 else 0.0


def brute_force(boxes: np.ndarray, scores: np.ndarray, threshold: float, classes: np.ndarray) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(classes[i] != classes[j] or iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@settings(max_examples=200)
@given(st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.45, 0.5, 1.0]), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_it_keeps_what_the_definition_keeps(count: int, threshold: float, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (count, 2))  # whole numbers: equal boxes, equal scores and exact thresholds happen
    boxes = np.concatenate([corners, corners + rng.integers(1, 12, (count, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 10, count).astype(np.float32) / 10
    classes = rng.integers(0, kinds, count)
    assert nms(boxes, scores, threshold, classes).tolist() == brute_force(boxes, scores, threshold, classes)


def test_boxes_of_other_classes_do_not_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [1]
    assert nms(boxes, scores, 0.5, np.array([0, 1, 1])).tolist() == [1, 0]


def test_no_boxes_give_no_indices() -> None:
    kept = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_boxes_without_an_area_neither_suppress_nor_go() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), 0.5).tolist() == [0, 1, 2]
