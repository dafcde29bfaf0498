"""Cores that several workers share, as the operating system does it: n jobs on c cores each run at min(1, c / n)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count


class SharedCores:
    """A processor-sharing resource of a simulation; also a GPU's, with its workers as the capacity.

    Works in virtual time (core seconds that one job has had), so that a job that comes or goes costs O(log n): each job
    ends at a virtual moment that does not change. busy: core seconds that were used until `add` or `pop` was called.
    """

    __slots__ = ("_jobs", "_order", "_then", "_virtual", "busy", "capacity")

    def __init__(self, capacity: float) -> None:
        if not capacity > 0:
            raise ValueError(f"a capacity of {capacity} cores: must be above 0")
        self.capacity = capacity
        self.busy = 0.0
        self._virtual = 0.0
        self._then = 0.0
        self._order = count()
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, now: float, work: float, done: Callable[[], None]) -> None:
        """A job of `work` core seconds begins."""
        self._advance(now)
        heapq.heappush(self._jobs, (self._virtual + work, next(self._order), done))

    def next_end(self) -> float:
        """When the next job ends if none comes; infinity without a job."""
        if not self._jobs:
            return math.inf
        return self._then + max(0.0, self._jobs[0][0] - self._virtual) / self._speed()

    def pop(self, now: float) -> Callable[[], None]:
        """Take the job that ends now; returns what it was added with."""
        self._advance(now)
        ends, _, done = heapq.heappop(self._jobs)
        self._virtual = max(self._virtual, ends)
        return done

    def _speed(self) -> float:
        return min(1.0, self.capacity / len(self._jobs))

    def _advance(self, now: float) -> None:
        if self._jobs:
            passed = now - self._then
            self._virtual += passed * self._speed()
            self.busy += passed * min(float(len(self._jobs)), self.capacity)
        self._then = now
