"""Runs a stage's work on each image of a batch: times it, and turns an error about one image into its `Failed`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.preview import preview_jpeg
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.stage import Done, Failed, StageResult


class RefusedError(ImageError):
    """An image is refused with its pixels at hand, so that its failure can show them.

    image: uint8 (H, W, 3). alpha: float32 (H, W), the matte that was not good enough. facts: what was learnt.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        image: Rgb | None = None,
        alpha: Alpha | None = None,
        facts: Facts | None = None,
    ) -> None:
        super().__init__(reason, message)
        self.image = image
        self.alpha = alpha
        self.facts = facts if facts is not None else Facts()

    def preview(self) -> bytes | None:
        """A small JPEG of the image, with the matte when there is one."""
        return preview_jpeg(self.image, self.alpha) if self.image is not None else None


class Steps:
    """The steps of one image's way through a stage: which one is on, how long each took, where each ran.

    cpu_seconds: CPU time of this thread by step; empty without a `cpu_clock` (such as time.thread_time).
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cpu_clock: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock
        self._cpu_clock = cpu_clock
        self.cpu_seconds: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._devices: dict[str, str] = {}
        self._left = self._away = (0.0, 0.0)
        self.current: str | None = None

    @contextmanager
    def step(self, name: str, device: str) -> Iterator[None]:
        """Time a step; a step that is entered again adds up. `current` stays at a step that raises."""
        self.current = name
        self._devices[name] = device
        start, cpu_start = self._now()
        try:
            yield
        finally:
            end, cpu_end = self._now()
            self._seconds[name] = self._seconds.get(name, 0.0) + end - start
            if self._cpu_clock is not None:
                self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + cpu_end - cpu_start

    def clocks(self) -> tuple[float, float]:
        """Wall and CPU seconds as the clocks show them; the latter 0 without a clock for it."""
        return self._clock(), self._cpu_clock() if self._cpu_clock is not None else 0.0

    def leave(self) -> None:
        """Others' work comes now, within the step that is on; until `come_back`."""
        self._left = self.clocks()

    def come_back(self, seconds: float, cpu_seconds: float) -> None:
        """Of the time since `leave`, only so much was this image's."""
        (now, cpu_now), (left, cpu_left), (away, cpu_away) = self.clocks(), self._left, self._away
        self._away = (away + now - left - seconds, cpu_away + cpu_now - cpu_left - cpu_seconds)

    def _now(self) -> tuple[float, float]:
        (seconds, cpu_seconds), (away, cpu_away) = self.clocks(), self._away
        return seconds - away, cpu_seconds - cpu_away

    def facts(self) -> Facts:
        """Seconds and devices so far."""
        return Facts(seconds=dict(self._seconds), device=dict(self._devices))


def run_each(
    name: str,
    device: str,
    items: Sequence[tuple[Any, ...]],
    work: Callable[..., Done],
    new_steps: Callable[[], Steps] = Steps,
) -> list[StageResult]:
    """`work(steps, *item)` for every item, in order.

    An `ImageError` becomes the item's `Failed`, with a preview where there are pixels; any other exception goes on
    to the caller, as it says nothing of whose fault it is. The stage's own name is timed as a whole.
    """
    results: list[StageResult] = []
    for item in items:
        steps = new_steps()
        try:
            with steps.step(name, device):
                done = work(steps, *item)
        except ImageError as error:
            # Here, and not behind the block: an error kept in a local is in a cycle with this frame, and holds the
            # photograph's pixels until the garbage collector finds it.
            results.append(failed(error, steps, name))
        else:
            results.append(replace(done, facts=done.facts.merged(steps.facts())))
    return results


def failed(error: ImageError, steps: Steps, name: str) -> Failed:
    """How an image of the stage `name` ends by an error about it: in the step that was on, with what was learnt."""
    facts, preview = steps.facts(), None
    if isinstance(error, RefusedError):
        facts, preview = error.facts.merged(facts), error.preview()
    return Failed(Failure(error.reason, steps.current or name, error.message, preview, facts))
