"""Looks: what a saliency network said of a window of the photograph, and several of them made into one map.

The full frame shows what the subject is, a crop shows its edges better, another network errs elsewhere. The look with
the least haze is believed, with those that agree with it: their mean is surer than each, and one that saw something
else does not blur it. They are averaged as the networks put it, before the min-max normalisation: one that is unsure
of everything then counts little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window

Map = npt.NDArray[np.float32]

_AGREES = 0.8  # overlap with the believed look from which another one is averaged with it; .7 to .9 give the same
_CROP_WEIGHT = 1.5  # of a crop, a full frame has 1: it shows the subject larger
_CROP_TRUST = 2.0  # a crop was chosen with care: a full frame must be twice as clear to be believed against it


@dataclass(frozen=True, slots=True)
class Look:
    """One pass of a network.

    mask: uint8 (h, w) over the window, min-max normalised. window: integer (x0, y0, x1, y1) in the photograph.
    peak, floor: 0..1, the raw values that 255 and 0 of the mask stand for. weight: of this look in a mean.
    trust: what its haze is divided by when it is compared with others'.
    """

    mask: npt.NDArray[np.uint8]
    window: Window
    peak: float = 1.0
    floor: float = 0.0
    weight: float = 1.0
    trust: float = 1.0

    @staticmethod
    def of_crop(mask: npt.NDArray[np.uint8], window: Window, peak: float, floor: float) -> Look:
        """A look at a crop, with the weight and the trust of one."""
        return Look(mask, window, peak, floor, weight=_CROP_WEIGHT, trust=_CROP_TRUST)


@dataclass(frozen=True, slots=True)
class Consensus:
    """What several looks come to.

    looks: those that were believed, the surest first. agreement: 0..1, mean overlap of the surest with all others; 1
    when it was alone. haze: of the surest. doubt: of the believed ones' mean.
    """

    looks: tuple[Look, ...]
    agreement: float
    haze: float
    doubt: float


def merged(looks: Sequence[Look], window: Window, size: tuple[int, int]) -> Map:
    """The weighted mean of what the looks say of a window, float32 `size` = (h, w), min-max normalised to 0..1.

    Each pixel is the mean of the looks that cover it; one that none covers is 0. A flat mean becomes all zeros.
    """
    total, weights = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for look in looks:
        values, covered = seen(look, window, size)
        total += look.weight * (values * np.float32(look.peak - look.floor) + np.float32(look.floor)) * covered
        weights += look.weight * covered
    mean = total / np.maximum(weights, np.float32(1e-6))
    known = mean[weights > 0]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if high - low <= 1e-6:
        return np.zeros(size, np.float32)
    return np.asarray(np.clip((mean - np.float32(low)) / np.float32(high - low), 0.0, 1.0) * (weights > 0), np.float32)


def seen(look: Look, window: Window, size: tuple[int, int]) -> tuple[Map, Map]:
    """(normalised values 0..1, coverage 0 or 1) of a look through a window, both float32 `size` = (h, w).

    Linearly interpolated; a pixel is covered when its centre lies in the look's window.
    """
    x0, y0, x1, y1 = window
    left, top, right, bottom = look.window
    rows, columns = look.mask.shape
    # Of the centres of the result's pixels: where in the photograph, and where in the look's map. Pixel centres meet
    # pixel centres: hence the halves.
    x = x0 + (np.arange(size[1]) + 0.5) * ((x1 - x0) / size[1])
    y = y0 + (np.arange(size[0]) + 0.5) * ((y1 - y0) / size[0])
    step_x, step_y = columns / (right - left), rows / (bottom - top)
    back = np.array(
        [
            [(x1 - x0) / size[1] * step_x, 0, (x[0] - left) * step_x - 0.5],
            [0, (y1 - y0) / size[0] * step_y, (y[0] - top) * step_y - 0.5],
        ],
        np.float64,
    )
    values = cv2.warpAffine(
        look.mask,
        back,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    covered = np.outer((y >= top) & (y <= bottom), (x >= left) & (x <= right))
    return np.asarray(values, np.float32) * np.float32(1 / 255), np.asarray(covered, np.float32)


def consensus(looks: Sequence[Look], window: Window, size: tuple[int, int]) -> Consensus:
    """The look with the least haze and those that agree with it, as they show in a window.

    window: within which they are compared; size: (h, w) at which. A look is 0 where it does not cover the window.
    Chosen over other rules on 118 photographs with truth, each of them with u2netp's full frame and crop and u2net's
    full frame where these two leave doubt; mean IoU, tried on maps of 400 px: mean of all .807, median .792, the two
    that agree most .785, the one with the fewest pixels between in and out .809, with the least haze .811, that one and
    those that agree with it .816. By the stages themselves .807 without trust in the crop, .815 with it.
    """
    shown = []
    for look in looks:
        values, covered = seen(look, window, size)
        shown.append(values * covered)
    hazes = [haze(values) for values in shown]
    best = int(np.argmin([value / look.trust for value, look in zip(hazes, looks, strict=True)]))
    overlaps = [overlap(shown[best], values) for values in shown]
    others = [i for i in range(len(looks)) if i != best]
    believed = (looks[best], *(looks[i] for i in others if overlaps[i] >= _AGREES))
    return Consensus(
        believed,
        agreement=float(np.mean([overlaps[i] for i in others])) if others else 1.0,
        haze=hazes[best],
        doubt=doubt(merged(believed, window, size)),
    )


def haze(values: Map) -> float:
    """How much a map says 'perhaps' of what it leaves out, as a share of what it takes in; 0 for a clean one.

    values: float32 (h, w) in 0..1; a pixel at 0.5 is all doubt, one at 0 or 1 none. A map that takes nothing in counts
    as all haze: the number of its pixels.
    """
    inside = values >= 0.5
    taken = np.count_nonzero(inside)
    return float(_unsure(values)[~inside].sum() / taken) if taken else float(values.size)


def doubt(values: Map) -> float:
    """How much a map says 'perhaps', in and out, as a share of what it takes in; 0 for a clean one, as `haze`."""
    taken = np.count_nonzero(values >= 0.5)
    return float(_unsure(values).sum() / taken) if taken else float(values.size)


def overlap(one: Map, other: Map) -> float:
    """How alike two soft maps of one shape are, 0..1: sum of minima over sum of maxima (Ruzicka); 0 for empty ones."""
    largest = float(np.maximum(one, other).sum())
    return float(np.minimum(one, other).sum()) / largest if largest else 0.0


def _unsure(values: Map) -> Map:
    return np.asarray(1.0 - np.abs(2.0 * values - 1.0), np.float32)
