"""Whether the pipeline's own score can be trusted: does it find the bad mattes, and does it mean what it says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BAD: Final = 0.85
"""A matte with a lower IoU is a bad one; the confidence is the probability that it is not."""

_BINS = 10
_SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)


@dataclass(frozen=True, slots=True)
class Bin:
    """Photographs whose confidence lies in one tenth of 0..1: their number, mean confidence, and share of good ones."""

    n: int
    confidence: float
    good: float


@dataclass(frozen=True, slots=True)
class Catch:
    """What refusing the least confident photographs catches.

    refused: share of all that is refused. caught: share of the bad ones among them, of all bad ones. right: share of
    the refused that are bad. threshold: the confidence below which they lie.
    """

    refused: float
    caught: float
    right: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Trust:
    """n, bad: photographs, and how many have an IoU under `BAD`.

    auc: probability that a good one has a higher confidence than a bad one (ties count half); None when all are alike.
    ece: expected calibration error over ten equal bins, 0..1 (Guo et al., On Calibration of Modern Neural Networks,
    ICML 2017). bins: those that hold a photograph. catches: for growing shares. curve: (refused, caught) after each.
    """

    n: int
    bad: int
    auc: float | None
    ece: float
    bins: tuple[Bin, ...]
    catches: tuple[Catch, ...]
    curve: tuple[tuple[float, float], ...]


def trust(confidences: Sequence[float], ious: Sequence[float]) -> Trust | None:
    """How the confidences, 0..1, relate to the IoUs of the same photographs; None without a photograph."""
    score, good = np.asarray(confidences, np.float64), np.asarray(ious, np.float64) >= BAD
    n, bad = len(score), int((~good).sum())
    if n == 0:
        return None
    which = np.minimum((score * _BINS).astype(int), _BINS - 1)
    bins = []
    for at in range(_BINS):
        inside = which == at
        if inside.any():
            bins.append(Bin(int(inside.sum()), float(score[inside].mean()), float(good[inside].mean())))
    ece = sum(each.n * abs(each.confidence - each.good) for each in bins) / n
    order = np.argsort(score, kind="stable")
    caught = np.cumsum(~good[order])
    catches, curve = [], [(0.0, 0.0)]
    if bad:
        curve += [((i + 1) / n, float(caught[i]) / bad) for i in range(n)]
        for k in sorted({round(share * n) for share in _SHARES} - {0}):
            threshold = float(score[order[k]]) if k < n else 1.0
            catches.append(Catch(k / n, float(caught[k - 1]) / bad, float(caught[k - 1]) / k, threshold))
    return Trust(n, bad, _auc(score, good), float(ece), tuple(bins), tuple(catches), tuple(curve))


def _auc(score: npt.NDArray[np.float64], good: npt.NDArray[np.bool_]) -> float | None:
    """Mann and Whitney's statistic over all pairs of a good and a bad one."""
    high, low = score[good], score[~good]
    if not len(high) or not len(low):
        return None
    above = (high[:, None] > low[None, :]).sum() + 0.5 * (high[:, None] == low[None, :]).sum()
    return float(above) / (len(high) * len(low))
