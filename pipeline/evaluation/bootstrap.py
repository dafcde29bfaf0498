"""Paired bootstrap: how far the difference of two recipes could be luck of the photographs.

Efron, Tibshirani, An Introduction to the Bootstrap, 1993 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_ROUNDS = 10_000
_AT_ONCE = 2_000_000  # numbers drawn in one go: 16 MB


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of b minus a over n photographs, and the interval that holds it.

    low, high: None with fewer than two photographs. sure: the interval does not hold 0.
    """

    n: int
    mean: float
    low: float | None
    high: float | None

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(
    groups: Sequence[tuple[Sequence[float], Sequence[float]]], *, level: float = 0.95, seed: int = 0
) -> Difference:
    """The mean of b - a over all photographs of all groups, with its bootstrap interval.

    groups: (a, b) by set, of the same photographs in the same order. Photographs are drawn anew within each set, so
    that every set keeps its share. level: of the interval, 0..1. With a handful of photographs the interval is too
    narrow: it knows only the ones that it has seen. Raises ValueError when a pair differs in length, or all are empty.
    """
    differences = [np.subtract(b, a, dtype=np.float64) for a, b in groups if _same(a, b)]
    n = sum(len(each) for each in differences)
    if n == 0:
        raise ValueError("there is no photograph to compare")
    mean = float(sum(each.sum() for each in differences) / n)
    if n < 2:
        return Difference(n, mean, None, None)
    rng = np.random.default_rng(seed)
    sums = np.zeros(_ROUNDS, np.float64)
    for each in differences:
        sums += _resampled_sums(each, rng)
    tail = (1.0 - level) / 2
    low, high = np.quantile(sums / n, (tail, 1.0 - tail))
    return Difference(n, mean, float(low), float(high))


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} photographs and b {len(b)}: a paired comparison needs the same ones")
    return len(a) > 0


def _resampled_sums(values: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    sums = np.empty(_ROUNDS, np.float64)
    step = max(1, _AT_ONCE // len(values))
    for start in range(0, _ROUNDS, step):
        rows = min(step, _ROUNDS - start)
        sums[start : start + rows] = values[rng.integers(0, len(values), (rows, len(values)))].sum(axis=1)
    return sums
