"""Whether a pass costs less as a CUDA graph: found out on the passes themselves, in turns. Pure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Way = Literal["eager", "graph"]

ROUNDS = 5
"""Passes each way that count; one more of each goes before: a graph's first launch also uploads it."""

HOST_SHARE = 0.9
"""Of the eager pass's host time, that a graph may take at most: it costs memory, so it must save something."""

DEVICE_SHARE = 1.02
"""Of the eager pass's device time, likewise: no longer, within what two runs of the same differ by."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one pass. host: seconds until it was in its stream. device: milliseconds between events around it."""

    host: float
    device: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """pays: the graph is kept. eager, graph: the medians that say so."""

    pays: bool
    eager: Cost
    graph: Cost


def judge(eager: Sequence[Cost], graph: Sequence[Cost]) -> Verdict:
    """By medians, since a pass that other work of the machine held up is no measure of either way.

    A graph pays when it spares the host a tenth and the device takes no longer.
    """
    one, other = _median(eager), _median(graph)
    pays = other.host <= HOST_SHARE * one.host and other.device <= DEVICE_SHARE * one.device
    return Verdict(pays, one, other)


class GraphTrial:
    """A pass is put in one way (`putting` says which), its device time is told when known, and so on until `over`.

    In turns, so that whatever changes meanwhile (clocks, heat, other work) falls on both. clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, rounds: int = ROUNDS) -> None:
        self._clock = clock
        self._left = 2 * (rounds + 1)
        self._costs: dict[Way, list[Cost]] = {"eager": [], "graph": []}
        self._waiting: tuple[Way, float] | None = None

    @property
    def waits(self) -> bool:
        """Whether the device time of the last pass has yet to be told."""
        return self._waiting is not None

    @property
    def over(self) -> bool:
        """Whether enough was measured."""
        return self._left == 0

    @contextmanager
    def putting(self) -> Iterator[Way]:
        """Around what puts a pass into its stream, in the way that it gives. What raises inside does not count."""
        if self.over or self._waiting is not None:
            raise ValueError("a trial that is over, or whose last pass has no device time yet, takes no pass")
        way: Way = "graph" if self._left % 2 else "eager"
        began = self._clock()
        yield way
        self._waiting = (way, self._clock() - began)

    def took(self, milliseconds: float) -> None:
        """The device time of the last pass."""
        if self._waiting is None:
            raise ValueError("there is no pass whose device time is not known")
        (way, host), self._waiting = self._waiting, None
        self._costs[way].append(Cost(host, milliseconds))
        self._left -= 1

    def verdict(self) -> Verdict:
        """Once it is over."""
        if not self.over:
            raise ValueError(f"a trial with {self._left} passes left has no verdict")
        return judge(self._costs["eager"][1:], self._costs["graph"][1:])


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(cost.host for cost in costs), statistics.median(cost.device for cost in costs))
