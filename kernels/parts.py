"""The parts of a soft map, which of them are the main subject, and the map without the others.

A photograph of a user's article can show other things that stand out, too: a second person, a lamp behind the chair.
What counts is how much of the map a part has and how near to the middle it stands: whoever takes a picture of
something puts it there (the centre prior of saliency detection: Judd et al., ICCV 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_SIGMA = 0.35  # of the centre prior, in widths and heights of the frame
_FRAGMENT = 0.1  # of the largest part's mass: under it, a part may be a piece that the network lost hold of
_NEAR = 0.04  # of the map's sides: as far as a piece may lie from what it belongs to

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Parts:
    """The 8-connected parts of a map at or above a level.

    labels: int32 (h, w), 0 outside all parts. masses: float64 (n,), sum of the map in the parts 1..n. ranks: float64
    (n,), masses times nearness to the middle. boxes: int64 (n, 4) xyxy in pixels of the map, x1 and y1 exclusive.
    """

    labels: npt.NDArray[np.int32]
    masses: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.int64]

    def main(self, share: float) -> npt.NDArray[np.bool_]:
        """Which parts are the main subject, bool (n,).

        Those with at least `share` (0..1) of the highest rank (a pair of shoes), and small pieces beside them (a handle
        whose joint the network does not see): under a tenth of the largest mass, the gap under 4 % of the map's sides.
        """
        large = self.ranks >= share * self.ranks.max(initial=0.0)
        pieces = self.masses < _FRAGMENT * self.masses.max(initial=0.0)
        if not large.any() or not pieces.any():
            return np.asarray(large, np.bool_)
        height, width = self.labels.shape
        reach = np.array([width, height, -width, -height]) * _NEAR
        grown = self.boxes[large] - reach  # (m, 4)
        meets = (self.boxes[:, None, :2] <= grown[None, :, 2:]) & (self.boxes[:, None, 2:] >= grown[None, :, :2])
        return np.asarray(large | (pieces & meets.all(axis=2).any(axis=1)), np.bool_)

    def box(self, which: npt.NDArray[np.bool_]) -> Box:
        """(x0, y0, x1, y1) around some of the parts, in pixels of the map. which: bool (n,), at least one true."""
        chosen = self.boxes[which]
        x0, y0 = chosen[:, :2].min(axis=0)
        x1, y1 = chosen[:, 2:].max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    def rival(self) -> float:
        """Rank of the second part over that of the first, 0..1; 0 when there is no second."""
        best = np.sort(self.ranks)[::-1]
        return float(best[1] / best[0]) if len(best) > 1 and best[0] > 0 else 0.0


def rank_parts(soft: npt.NDArray[Any], level: float) -> Parts:
    """The parts of a soft map with their ranks: sum of the map in the part times exp(-(d / 0.35)^2).

    soft: float32 (h, w) in 0..1, or uint8 (h, w) taken as value / 255, of the whole photograph. level: 0..1.
    d: distance of the part's centre from the frame's, in widths and heights of the frame.
    """
    values = np.asarray(soft, np.float32)
    if soft.dtype == np.uint8:
        values = values * np.float32(1 / 255)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(values >= level, np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    mass = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)[1:]
    across = (centres[1:, 0] + 0.5) / values.shape[1] - 0.5
    down = (centres[1:, 1] + 0.5) / values.shape[0] - 0.5
    left, top = stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[1:, cv2.CC_STAT_WIDTH], top + stats[1:, cv2.CC_STAT_HEIGHT]
    return Parts(
        np.asarray(labels, np.int32),
        np.asarray(mass, np.float64),
        np.asarray(mass * np.exp(-(across**2 + down**2) / _SIGMA**2), np.float64),
        np.stack([left, top, right, bottom], axis=1).astype(np.int64),
    )


def nearest_kept(parts: Parts, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where the nearest part is one that is kept, bool (h, w): a part that goes takes its halo along.

    keep: bool (n,). All true when there is no part, or none goes.
    """
    if keep.all():
        return np.ones(parts.labels.shape, np.bool_)
    outside = np.ascontiguousarray(parts.labels == 0, np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    # The transform numbers the pixels of the parts in an order of its own: look up which part each of them is in.
    part_of = np.zeros(int(nearest.max()) + 1, np.int32)
    inside = outside == 0
    part_of[nearest[inside]] = parts.labels[inside]
    return np.asarray(np.concatenate([[True], keep])[part_of[nearest]], np.bool_)
