"""What a person has marked, spread over a photograph: strokes over a prior, a trimap into its band.

Criminisi, Sharp, Blake, GeoS, ECCV 2008 (the distances, over colours and the prior); Grady, Multilabel Random Walker
Image Segmentation Using Prior Models, CVPR 2005 (the smoothing along colour edges).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.geodesic import geodesic_distance
from mattemill.kernels.random_walker import random_walker
from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN

Plane = npt.NDArray[np.float32]
Marks = npt.NDArray[np.uint8]

LONG_SIDE = 160
"""Pixels of the long side at which strokes are spread; at 256 the result was no better, at 2.5 times the time."""

BAND_LONG_SIDE = 400
"""Pixels of the long side at which a trimap's band is filled; 800 was no better at four times the time."""

_BAND_TRUST = 1e-4  # of 0.5 as the prior within a trimap's band: the walk is free, and ends
_FORCE = 6.0  # of a stroke, where it lies, in units of log odds; a prior of .02 or .98 weighs 3.9
_REACH = (
    0.6  # geodesic distance at which the force has fallen to 1/e, as a bell; black to white is 1, the long side is 1
)
_LONG_STROKE = 0.3  # of the long side: a stroke of half this extent reaches half as far, one of a quarter a quarter
_MOST_HALVINGS = 2  # a dot still reaches a quarter as far
_PRIOR_HILLS = 2.0  # how much a step of the prior from 0 to 1 counts beside one from black to white
_PRIOR_EDGES = 0.3  # of the walker: a step of the prior from 0 to 1 is an edge also where the colours are equal
_BETA = 300.0  # of the random walker, for Lab / 100: colours that differ by .06 are parted by a factor of 3
_TRUST = 0.001  # of the walker's prior: about 30 px of smoothing on flat ground
_LEAST_ODDS = 0.02  # a prior is never believed more than this, or 1 - this
_STEEPEN = 2.0  # of the walker's result about 0.5, so that its smooth slopes leave no haze
_COVERED = 0.3  # share of a small pixel that a stroke covers to mark it


def colours(image: npt.NDArray[np.uint8]) -> Plane:
    """What the strokes spread over: float32 (h, w, 3), CIE Lab / 100, grain smoothed off. image: uint8 (h, w, 3)."""
    lab = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB) / np.float32(100)
    return np.asarray(cv2.bilateralFilter(lab, 5, 0.08, 2), np.float32)


def reduce_marks(marks: Marks, size: tuple[int, int]) -> Marks:
    """Marks uint8 (H, W) of 0, 128 and 255 at a smaller size = (w, h); a stroke thinner than a pixel stays whole."""
    keep, remove = (
        np.asarray(cv2.resize((marks == value).astype(np.float32), size, interpolation=cv2.INTER_AREA)).reshape(
            size[::-1]
        )
        for value in (FOREGROUND, BACKGROUND)
    )
    out = np.full(size[::-1], UNKNOWN, np.uint8)
    for one, other, value in ((keep, remove, FOREGROUND), (remove, keep, BACKGROUND)):
        most = float(one.max())
        if most > 0:
            out[(one >= min(_COVERED, 0.5 * most)) & (one >= other)] = value
    return out


def propagate(lab: Plane, prior: npt.NDArray[Any], marks: Marks) -> tuple[Plane, Plane]:
    """A soft mask that follows the strokes, and what the same smoothing makes of the prior without them.

    lab: float32 (h, w, 3) from `colours`, the long side about `LONG_SIDE`. prior: float (h, w) in 0..1, the mask before
    the strokes. marks: uint8 (h, w), 255 = keep, 0 = remove, else free. Returns two float32 (h, w) in 0..1; their
    difference is what the strokes have changed, 0 where they do not reach.

    A stroke's force on the prior's log odds decays with the geodesic distance from it, over the colours and over the
    prior itself: a stroke on one of two salient things takes the whole of it and stops at its border. The shorter the
    stroke, the less far it reaches: who corrects a detail draws a short one. The random walker then draws the borders
    along edges.

    The constants were chosen on the 53 photographs of ../shared/evaldata whose IoU was under .7, by one simulated
    stroke each (as in `benchmarks/strokes.py`), one constant at a time by factors of about 2, before the bell took the
    place of an exponential. They lie on a flat top: of fourteen changes none raised the gain of .26 by more than .012,
    and the worst (the force at 4) cost .035; choosing among them by five-fold cross-validation over photographs gains
    .25. Tried beside it: no walker (.02 less), models of the strokes' colours as a factor or an addend (no gain), the
    exponential (.01 less), one reach for all strokes (third strokes then spoil what was right: .02 less after three).
    """
    shape = marks.shape
    values = np.asarray(prior, np.float32)
    odds = np.clip(values, _LEAST_ODDS, 1 - _LEAST_ODDS)
    odds = np.log(odds / (1 - odds))
    hills = np.concatenate([lab, np.float32(_PRIOR_HILLS) * values[..., None]], axis=2)
    for value, sign in ((FOREGROUND, 1), (BACKGROUND, -1)):
        starts, reaches = _strokes(marks == value)
        if reaches:
            distances = geodesic_distance(hills, starts, 1.0 / max(shape), sweeps=4)
            near = [np.exp(-((one / np.float32(reach)) ** 2)) for one, reach in zip(distances, reaches, strict=True)]
            odds += np.float32(sign * _FORCE) * np.maximum.reduce(near)
    trust = np.full(shape, _TRUST, np.float32)
    ground = np.concatenate([lab, np.float32(_PRIOR_EDGES) * values[..., None]], axis=2)
    with_strokes = random_walker(ground, 1 / (1 + np.exp(-odds)), trust, marks, _BETA)
    without = random_walker(ground, values, trust, np.full_like(marks, UNKNOWN), _BETA)
    return _steepened(with_strokes), _steepened(without)


def fill_band(lab: Plane, marks: Marks) -> Plane:
    """A soft mask of a trimap's band from its certain pixels alone: a random walk from the band to where it is certain.

    lab: float32 (h, w, 3) from `colours`, the long side about `BAND_LONG_SIDE`. marks: uint8 (h, w), 255 = foreground,
    0 = background, else unknown. Returns float32 (h, w) in 0..1.

    SAD in thousands on the 14 photographs of alphamatting27 with their tight trimaps, before refinement, after the
    guided filter, and after our matting network: this 8.0, 7.1, 6.6; u2netp's map of the crop 14.2, 12.1, 6.9; both
    together 9.2, 8.2, 6.8; 0.5 everywhere 31.1, 24.5, 7.0. With the wide trimaps it leads alike (12.6, 10.8, 9.4).
    """
    half = np.full(marks.shape, 0.5, np.float32)
    return random_walker(lab, half, np.full(marks.shape, _BAND_TRUST, np.float32), marks, _BETA)


def _steepened(values: Plane) -> Plane:
    return np.asarray(np.clip((values - np.float32(0.5)) * np.float32(_STEEPEN) + np.float32(0.5), 0.0, 1.0))


def _strokes(marked: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], list[float]]:
    """Where the strokes of one kind start, (k, h, w) of 0 and inf, by how far they reach: short ones not so far."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(marked.view(np.uint8), connectivity=8)
    extents = np.hypot(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]) / max(marked.shape)
    halvings = np.clip(np.round(np.log2(_LONG_STROKE / extents)), 0, _MOST_HALVINGS).astype(int)
    starts, reaches = [], []
    for halving in sorted(set(halvings.tolist())):
        these = 1 + np.flatnonzero(halvings == halving)
        starts.append(np.where(np.isin(labels, these), 0.0, np.inf))
        reaches.append(_REACH / 2.0**halving)
    return np.stack(starts) if starts else np.empty((0, *marked.shape)), reaches
