"""Figures of an alpha that tell a good cut from a bad one without knowing the truth."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_LOW, _HIGH = 0.05, 0.95


def alpha_stats(alpha: npt.NDArray[np.float32]) -> dict[str, float]:
    """Named figures, each in 0..1. alpha: float32 (H, W) in 0..1.

    area: mean of alpha, the share of the frame that the subject covers.
    soft_share: share of all pixels that lie strictly between 0.05 and 0.95.
    soft_of_subject: the same as a share of the pixels at or above 0.05; near 1 = nowhere sure. 0 without a subject.
    certainty: mean of |2 alpha - 1| over the pixels at or above 0.05. 0 without a subject.
    border_contact: share of the frame's outermost pixels at or above 0.5: a subject that is cut off by the frame.
    peak: the largest alpha.
    """
    values = np.ascontiguousarray(alpha, np.float32)
    subject = (values >= _LOW).view(np.uint8)
    touched = cv2.countNonZero(subject)
    soft = touched - cv2.countNonZero((values >= _HIGH).view(np.uint8))
    certainty = float(cv2.mean(np.abs(2.0 * values - np.float32(1.0)), mask=subject)[0])
    edge = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    return {
        "area": float(cv2.mean(values)[0]),
        "soft_share": soft / values.size,
        "soft_of_subject": soft / touched if touched else 0.0,
        "certainty": certainty,
        "border_contact": float(np.count_nonzero(edge >= 0.5) / edge.size),
        "peak": float(values.max()),
    }
