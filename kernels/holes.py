"""Hole filling that keeps real holes: a ring stays a ring, a body with a gap in its matte becomes whole."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Slices = tuple[slice, slice]

_MOST = 400  # holes that are looked at, largest first; lace may have more, and they are real
_TINY = 2e-4  # of the subject's area: what is undecided and smaller than this is a flaw of the matte
_CLEAR = 1.5  # how many times nearer to one side's colours than to the other's decides
_SAME = 3.0  # CIELAB; a contour with less contrast than this separates nothing
_FLOOR = 2.0  # CIELAB; the noise of a photograph: closer than this is equally close
_SAMPLES = 300  # colours of each side that a hole is compared with
_GRID = 160  # the background is sampled at so many points along the long side
_VIEW = 400  # px of a hole's long side from which it is looked at in steps
_RIM = 0.025  # of the long side: how far a hole's soft rim may reach (the band that refinement opens, to both sides)


def fill_holes(image: Bytes, alpha: Floats) -> tuple[Floats, int]:
    """(alpha with its false holes filled, how many); the input itself when there are none.

    image: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1.

    A hole is a 4-connected part with alpha under one half that does not touch the frame. Its colours decide: the CIELAB
    distance to the nearest colours of the subject around it, and to those of the background, taken from where it lies
    nearest. Clearly nearer to the subject's, it is filled; clearly nearer to the background's, it stays. Where neither
    is clear it is filled when nothing in the photograph separates it from what is around it (a white body on white), or
    when it is tiny (2e-4 of the subject) and the tiny ones together do not lean to the background, as those of a mesh
    do. What is filled is filled whole, with the soft rim that is its own. Without any background in sight only what
    nothing separates is filled.
    """
    solid = (alpha >= 0.5).view(np.uint8)
    x, y, across, down = cv2.boundingRect(solid)
    if not across:
        return alpha, 0
    # One pixel more than the subject, where there is one: what touches the edge of this part is outside.
    rows = slice(max(0, y - 1), min(alpha.shape[0], y + down + 1))
    columns = slice(max(0, x - 1), min(alpha.shape[1], x + across + 1))
    pixels, mix = image[rows, columns], alpha[rows, columns]
    empty = 1 - solid[rows, columns]
    found = cv2.connectedComponentsWithStats(empty, connectivity=4, ltype=cv2.CV_32S)
    count, labels, stats = found[0], np.asarray(found[1], np.int32), np.asarray(found[2], np.int32)
    outside = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    holes = np.setdiff1d(np.arange(1, count), outside)
    if not len(holes):
        return alpha, 0
    areas = stats[:, cv2.CC_STAT_AREA]
    ground = _ground(image, alpha, np.isin(labels, holes), (rows.start, columns.start))
    tiny = max(4.0, _TINY * cv2.countNonZero(solid))
    false: list[int] = []
    leans: dict[int, float] = {}
    for label in holes[np.argsort(-areas[holes], kind="stable")][:_MOST]:
        lean, contrast = _evidence(pixels, mix, labels, stats[label], int(label), ground)
        if lean is not None and abs(lean) >= math.log(_CLEAR):
            if lean > 0:
                false.append(int(label))
        elif contrast < _SAME:
            false.append(int(label))
        elif lean is not None and areas[label] <= tiny:
            leans[int(label)] = lean
    if leans and float(np.median(list(leans.values()))) >= 0:
        false += list(leans)
    if not false:
        return alpha, 0
    out = alpha.copy()
    widest = max(3, math.ceil(_RIM * max(alpha.shape)))
    for label in false:
        # A gap of a few pixels in fur has a rim of a few, not of a whole band.
        reach = min(widest, 2 + math.ceil(1.5 * math.sqrt(areas[label])))
        part = _around(stats[label], reach, mix.shape)
        _fill(out[rows, columns][part], labels[part], label, reach)
    return out, len(false)


def _around(stat: npt.NDArray[np.int32], reach: int, shape: tuple[int, ...]) -> Slices:
    """The rows and columns of a component with `reach` pixels more on each side, inside the shape."""
    left, top, across, down = (int(stat[i]) for i in range(4))
    rows = slice(max(0, top - reach), min(shape[0], top + down + reach))
    return rows, slice(max(0, left - reach), min(shape[1], left + across + reach))


def _ground(image: Bytes, alpha: Floats, hole: Bits, corner: tuple[int, int]) -> tuple[Floats, Floats]:
    """Samples of the background outside the subject: (n, 2) rows and columns counted from `corner`, (n, 3) CIELAB."""
    step = max(1, max(alpha.shape) // _GRID)
    free = alpha[step // 2 :: step, step // 2 :: step] < 0.02
    y, x = (np.asarray(at) * step + step // 2 for at in np.nonzero(free))
    inner_y, inner_x = y - corner[0], x - corner[1]
    inside = (inner_y >= 0) & (inner_x >= 0) & (inner_y < hole.shape[0]) & (inner_x < hole.shape[1])
    inside[inside] = hole[inner_y[inside], inner_x[inside]]
    y, x = y[~inside], x[~inside]
    return np.stack([y - corner[0], x - corner[1]], axis=1).astype(np.float32), _lab(image[y, x])


def _evidence(
    pixels: Bytes,
    mix: Floats,
    labels: npt.NDArray[np.int32],
    stat: npt.NDArray[np.int32],
    label: int,
    ground: tuple[Floats, Floats],
) -> tuple[float | None, float]:
    """(log of how many times nearer to the subject's colours than to the background's, contrast of its contour).

    None without colours to compare with. Contrast: CIELAB, the median along the contour.
    """
    area, longest = float(stat[cv2.CC_STAT_AREA]), int(max(stat[cv2.CC_STAT_WIDTH], stat[cv2.CC_STAT_HEIGHT]))
    reach = round(min(max(6.0, math.sqrt(area)), max(6.0, 0.05 * max(mix.shape))))
    step = max(1, longest // _VIEW)
    rows, columns = _around(stat, reach, mix.shape)
    part = (slice(rows.start, rows.stop, step), slice(columns.start, columns.stop, step))
    hole, alpha = labels[part] == label, mix[part]
    if not hole.any():
        return None, math.inf
    lab = _lab(pixels[part].reshape(-1, 3)).reshape(*hole.shape, 3)
    core = hole & (alpha <= np.median(alpha[hole]))
    away = np.asarray(cv2.distanceTransform((~hole).view(np.uint8), cv2.DIST_L2, 5)).reshape(hole.shape)
    beside = (alpha > 0.95) & (away * step <= reach)
    if np.count_nonzero(beside) < 8:
        beside = (alpha >= 0.5) & (away * step <= reach)
    if not beside.any():
        return None, math.inf
    contrast = _contrast(lab, core, beside)
    at, colours = ground
    if not len(at):
        return None, contrast
    middle = np.array([stat[cv2.CC_STAT_TOP] + stat[cv2.CC_STAT_HEIGHT] / 2,
                       stat[cv2.CC_STAT_LEFT] + stat[cv2.CC_STAT_WIDTH] / 2], np.float32)  # fmt: skip
    nearest = np.argsort(np.square(at - middle).sum(axis=1), kind="stable")[:_SAMPLES]
    inner = _some(lab[core])
    to_subject, to_ground = _distance(inner, _some(lab[beside])), _distance(inner, colours[nearest])
    return math.log((to_ground + _FLOOR) / (to_subject + _FLOOR)), contrast


def _contrast(lab: Floats, inner: Bits, outer: Bits) -> float:
    """Median CIELAB distance between the means on either side of a contour, taken side by side along it."""
    sides = []
    for mask in (inner, outer):
        weight = mask.astype(np.float32)
        share = np.asarray(cv2.blur(weight, (9, 9), borderType=cv2.BORDER_CONSTANT)).reshape(mask.shape)
        sums = np.asarray(cv2.blur(lab * weight[..., None], (9, 9), borderType=cv2.BORDER_CONSTANT)).reshape(lab.shape)
        sides.append((share, sums))
    both = (sides[0][0] > 0.03) & (sides[1][0] > 0.03)
    if not both.any():  # a wide soft rim lies between: the two means as a whole
        return float(np.linalg.norm(lab[inner].mean(axis=0) - lab[outer].mean(axis=0)))
    means = [sums[both] / share[both][:, None] for share, sums in sides]
    return float(np.median(np.linalg.norm(means[0] - means[1], axis=1)))


def _distance(colours: Floats, among: Floats) -> float:
    """Mean over the colours of the distance to the nearest among others, leaving out the luckiest 2 in 100."""
    squares = np.square(colours[:, None, :] - among[None, :, :]).sum(axis=2)
    lucky = min(len(among) - 1, len(among) // 50)
    return float(np.sqrt(np.partition(squares, lucky, axis=1)[:, lucky]).mean())


def _some(colours: Floats) -> Floats:
    """At most _SAMPLES of them, evenly spread."""
    return colours[:: -(-len(colours) // _SAMPLES)]


def _lab(colours: npt.NDArray[Any]) -> Floats:
    """CIELAB of uint8 (n, 3), float32 (n, 3)."""
    unit = np.multiply(colours.reshape(-1, 1, 3), np.float32(1 / 255), dtype=np.float32)
    if not len(unit):
        return np.zeros((0, 3), np.float32)
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2Lab), np.float32).reshape(-1, 3)


def _fill(alpha: Floats, labels: npt.NDArray[np.int32], label: int, reach: int) -> None:
    """Alpha 1 in the hole and in the soft pixels around it that are nearer to it than to any other gap; in place."""
    hole = labels == label
    away = np.asarray(cv2.distanceTransform((~hole).view(np.uint8), cv2.DIST_L2, 5)).reshape(hole.shape)
    other = (labels > 0) & ~hole
    if other.any():
        elsewhere = np.asarray(cv2.distanceTransform((~other).view(np.uint8), cv2.DIST_L2, 5)).reshape(hole.shape)
        alpha[(away <= reach) & (away < elsewhere) & (labels == 0)] = 1
    else:
        alpha[(away <= reach) & (labels == 0)] = 1
    alpha[hole] = 1
