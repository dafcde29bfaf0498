"""How long each stage takes for an image, learnt from the job's own calls.

There is no pass of its own for this: the first photographs of the job are the calibration, and every reply after them
keeps it up to date, so nothing is cut twice and a catalogue whose second half is larger is followed.

The estimate of a stage is `seconds / items` over its recent calls: both sums lose half of their weight every
`HALF_LIFE` items. Sums, not a mean of rates, so that a call of 32 counts 32 times as much as a call of one. A first
guess stands in until the first call of the stage is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mattemill.cluster.sizing import MAX_BATCH, TARGET_CALL_SECONDS, batch_size

FIRST_GUESS: dict[str, float] = {
    "fetch": 0.01,
    "detect": 0.45,
    "segment": 0.45,
    "matte": 0.10,
    "cut": 1.0,
    "store": 0.02,
}
"""Seconds an item on one core of a small cloud machine with u2netp and 2 MP photographs: only the first calls go by
it, and what they measure replaces it."""

HALF_LIFE = 64
"""Items after which a measurement counts half: long against noise, short against a change in the catalogue."""

SETTLED_AFTER = 4
"""Items after which a stage's figure is worth sizing by: its first call (cold caches) is no longer most of it."""


@dataclass(slots=True)
class _Sums:
    items: float
    seconds: float
    core_seconds: float
    seen: int = 0


class Calibration:
    """Running seconds an item of every stage, and what follows from them. Not thread-safe: the coordinator's own."""

    def __init__(self, first_guess: Mapping[str, float] = FIRST_GUESS) -> None:
        self._sums = {name: _Sums(1.0, seconds, seconds) for name, seconds in first_guess.items()}

    def observe(self, stage: str, items: int, seconds: float, core_seconds: float | None = None) -> None:
        """One call is back: it held `items` and took `seconds` in its worker.

        core_seconds: of these, how long it kept a core busy (`time.process_time()`); None = all of them. It is the
        figure that does not grow when other processes compete for the cores.
        """
        if items <= 0 or seconds < 0.0:
            return
        sums = self._sums.setdefault(stage, _Sums(0.0, 0.0, 0.0))
        keep = 0.5 ** (items / HALF_LIFE)
        if sums.seen == 0:
            keep = 0.0  # a measured call, however short, is better than the guess
        sums.items = sums.items * keep + items
        sums.seconds = sums.seconds * keep + seconds
        sums.core_seconds = sums.core_seconds * keep + (seconds if core_seconds is None else core_seconds)
        sums.seen += items

    def seconds(self, stage: str) -> float:
        """Worker seconds an item of this stage takes; the first guess until it has been measured."""
        sums = self._sums[stage]
        return max(1e-6, sums.seconds / sums.items)

    def busy(self, stage: str) -> float:
        """Share of these seconds in which a core was busy, 0..1."""
        sums = self._sums[stage]
        return min(1.0, sums.core_seconds / sums.seconds) if sums.seconds > 0.0 else 1.0

    def settled(self, stages: Mapping[str, object] | tuple[str, ...]) -> bool:
        """Whether all these stages have been measured on enough items to size by."""
        return all(name in self._sums and self._sums[name].seen >= SETTLED_AFTER for name in stages)

    def seconds_by_stage(self, stages: tuple[str, ...]) -> dict[str, float]:
        """Seconds an item for `sizing.solve`, in the order of the stages."""
        return {name: self.seconds(name) for name in stages}

    def busy_by_stage(self, stages: tuple[str, ...]) -> dict[str, float]:
        """Busy shares for `sizing.solve`."""
        return {name: self.busy(name) for name in stages}

    def batch(self, stage: str, *, target: float = TARGET_CALL_SECONDS, limit: int = MAX_BATCH) -> int:
        """Items that the next call of this stage should hold: about `target` seconds of work, within 1..limit."""
        return batch_size(self.seconds(stage), target=target, limit=limit)
