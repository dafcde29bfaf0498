"""A person who corrects a mask with strokes, simulated: where they draw, and what.

Each stroke lies in the largest wrong region (connected part of the error) and runs along its middle: from the end of
the region that is farthest away to the other end, by the way that stays clear of the region's borders, and no longer
than `LONGEST` of the photograph's long side. It is `WIDTH` of the long side wide, thinner where the region is. Nothing
is random.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

WIDTH = 0.015
"""Of the long side: 15 px on a photograph of 1000."""

LONGEST = 0.25
"""Of the long side; about the middle of the way through the region."""

_WORK = 240  # px of the long side at which the way is found

_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stroke:
    """One stroke: where it lies, bool (H, W), and whether it says keep (green) or remove (red)."""

    pixels: Mask
    keep: bool


def next_stroke(result: Mask, truth: Mask, counted: Mask) -> Stroke | None:
    """The stroke that a person would draw next; None when nothing is wrong.

    result, truth: bool (H, W). counted: bool (H, W), False where the truth does not say.
    """
    largest, keep, region = 0, True, None
    # What is missed and what is wrongly there are two regions, also where they touch.
    for side in (True, False):
        part = (result != truth) & counted & (truth == side)
        number, labels, stats, _ = cv2.connectedComponentsWithStats(part.view(np.uint8), connectivity=4)
        if number > 1:
            label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            if stats[label, cv2.CC_STAT_AREA] > largest:
                largest, keep, region = int(stats[label, cv2.CC_STAT_AREA]), side, labels == label
    return Stroke(_along_the_middle(region), keep) if region is not None else None


def _along_the_middle(region: Mask) -> Mask:
    height, width = region.shape
    longest = max(height, width)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(region.view(np.uint8), 1, 1, 1, 1, 0), cv2.DIST_L2, 5)[1:-1, 1:-1]
    scale = max(1, round(longest / _WORK))
    # The deepest pixel of each block: a thin region is not lost as the size shrinks.
    rows, columns = -(-height // scale), -(-width // scale)
    padded = np.zeros((rows * scale, columns * scale), np.float32)
    padded[:height, :width] = depth
    blocks = padded.reshape(rows, scale, columns, scale).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    small = blocks.max(axis=2)
    within = blocks.argmax(axis=2)
    deepest = float(small.max())
    core = small >= 0.35 * deepest
    start = np.unravel_index(int(small.argmax()), small.shape)
    cost = np.where(core, 1.0 + deepest / np.maximum(small, 1e-3), np.inf)
    first = _farthest(_ways(cost, (int(start[0]), int(start[1]))))
    distance = _ways(cost, first)
    way = [_farthest(distance)]
    while way[-1] != first:
        way.append(_back(distance, way[-1]))
    points = [(int(x * scale + within[y, x] % scale), int(y * scale + within[y, x] // scale)) for y, x in way]
    points = _middle(points, LONGEST * longest)
    out = np.zeros(region.shape, np.uint8)
    for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
        room = min(float(depth[y0, x0]), float(depth[y1, x1]))
        cv2.line(out, (x0, y0), (x1, y1), 1, max(1, round(min(WIDTH * longest, 1.4 * room))))
    return out.astype(bool)


def _ways(cost: npt.NDArray[np.float64], start: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Length of the cheapest way from a block to every other, inf where none leads (Dijkstra)."""
    distance = np.full(cost.shape, np.inf)
    distance[start] = 0.0
    heap = [(0.0, *start)]
    while heap:
        so_far, y, x = heapq.heappop(heap)
        if so_far > distance[y, x]:
            continue
        for dy, dx in _NEIGHBOURS:
            to = (y + dy, x + dx)
            if 0 <= to[0] < cost.shape[0] and 0 <= to[1] < cost.shape[1]:
                length = so_far + float(np.hypot(dy, dx)) * 0.5 * (cost[y, x] + cost[to])
                if length < distance[to]:
                    distance[to] = length
                    heapq.heappush(heap, (length, *to))
    return distance


def _farthest(distance: npt.NDArray[np.float64]) -> tuple[int, int]:
    at = np.unravel_index(int(np.where(np.isfinite(distance), distance, -1.0).argmax()), distance.shape)
    return int(at[0]), int(at[1])


def _back(distance: npt.NDArray[np.float64], at: tuple[int, int]) -> tuple[int, int]:
    """The neighbour that is nearest to the start."""
    top, left = max(0, at[0] - 1), max(0, at[1] - 1)
    part = distance[top : at[0] + 2, left : at[1] + 2]
    down, across = np.unravel_index(int(part.argmin()), part.shape)
    return top + int(down), left + int(across)


def _middle(points: list[tuple[int, int]], longest: float) -> list[tuple[int, int]]:
    """The part of a line about its middle that is at most so long."""
    steps = [0.0]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        steps.append(steps[-1] + float(np.hypot(x1 - x0, y1 - y0)))
    middle = steps[-1] / 2
    kept = [point for point, at in zip(points, steps, strict=True) if abs(at - middle) <= longest / 2]
    return kept or [points[len(points) // 2]]
