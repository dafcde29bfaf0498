"""Greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def nms(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    iou_threshold: float,
    classes: npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.int64]:
    """Indices of the boxes that stay, best first; equal scores keep the order of the input.

    boxes: float32 (N, 4) xyxy in pixels. scores: float32 (N,). iou_threshold: 0..1; a box goes when its
    intersection over union with a better one that stayed is above it. classes: integer (N,); only boxes of the same
    class suppress each other. Boxes without an area neither suppress nor are suppressed.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    sorted_boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[order]
    x0, y0, x1, y1 = sorted_boxes.T
    areas = np.maximum(0.0, x1 - x0) * np.maximum(0.0, y1 - y0)
    kinds = np.zeros(len(order), np.int64) if classes is None else np.asarray(classes)[order]
    alive = np.ones(len(order), bool)
    keep: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        keep.append(i)
        across = np.maximum(0.0, np.minimum(x1[i], x1[i + 1 :]) - np.maximum(x0[i], x0[i + 1 :]))
        down = np.maximum(0.0, np.minimum(y1[i], y1[i + 1 :]) - np.maximum(y0[i], y0[i + 1 :]))
        shared = across * down
        union = areas[i] + areas[i + 1 :] - shared
        # Multiplied out, so that two boxes without an area do not divide by zero.
        alive[i + 1 :] &= ~((shared > iou_threshold * union) & (kinds[i + 1 :] == kinds[i]))
    return order[np.asarray(keep, np.int64)].astype(np.int64)
