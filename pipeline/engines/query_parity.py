"""Errors of a detector's queries, which come in no order: the best are chosen by scores that may lie close together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def query_errors(got: tuple[Floats, Floats], expected: tuple[Floats, Floats]) -> tuple[float, float]:
    """(mean error, largest error), by the query's score: what is surely nothing may differ.

    Each is (logits, boxes): float32 (N, C), of classes that are yes or no on their own, and (N, 4) in 0..1 of the
    picture. An error is the largest difference of a class' probability plus the mean one of the box, to the nearest
    query on the other side; both sides are asked, so that nothing may be found once too often or left out.
    """
    (got_scores, got_boxes), (scores, boxes) = (_read(*each) for each in (got, expected))
    apart = np.stack(
        [
            np.abs(got_scores - one).max(axis=1) + np.abs(got_boxes - box).mean(axis=1)
            for one, box in zip(scores, boxes, strict=True)
        ]
    )
    sides = [(apart.min(axis=1), scores.max(axis=1)), (apart.min(axis=0), got_scores.max(axis=1))]
    mean = max(float((error * weight).sum() / max(weight.sum(), 1e-6)) for error, weight in sides)
    return mean, max(float((error * weight).max()) for error, weight in sides)


def _read(logits: Floats, boxes: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Probabilities, by a sigmoid that does not overflow, and boxes."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64))), boxes.astype(np.float64)
