"""Connected parts of a soft map, as boxes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Component = tuple[tuple[float, float, float, float], float, float]
"""((x0, y0, x1, y1) in pixels of the map, x1 and y1 exclusive; mass: sum of the map in it; peak: 0..1)."""


def components(soft: npt.NDArray[Any], threshold: float, min_share: float) -> list[Component]:
    """The 8-connected parts of a map that lie at or above a threshold, largest mass first.

    soft: float32 (h, w) in 0..1, or uint8 (h, w) taken as value / 255. threshold: 0..1.
    min_share: 0..1; parts with less than this share of the mass of all parts are left out (dust).
    mass: in pixels (a part of 100 px at 0.5 has 50). An empty list when nothing reaches the threshold.
    """
    values = np.asarray(soft, np.float32)
    if soft.dtype == np.uint8:
        values = values / np.float32(255.0)
    mask = np.ascontiguousarray(values >= threshold, np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    if count <= 1:
        return []
    masses = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    total = float(masses[1:].sum())
    found: list[Component] = []
    for label in range(1, count):
        mass = float(masses[label])
        if mass < min_share * total:
            continue
        left, top = int(stats[label, cv2.CC_STAT_LEFT]), int(stats[label, cv2.CC_STAT_TOP])
        right = left + int(stats[label, cv2.CC_STAT_WIDTH])
        bottom = top + int(stats[label, cv2.CC_STAT_HEIGHT])
        inside = labels[top:bottom, left:right] == label
        peak = float(values[top:bottom, left:right][inside].max())
        found.append(((float(left), float(top), float(right), float(bottom)), mass, peak))
    return sorted(found, key=lambda part: -part[1])
