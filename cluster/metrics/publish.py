"""Tells Ray's metrics what a job does, every few seconds; Ray's agent on each node serves them to Prometheus.

Served only where Ray was installed with its agent (`pip install 'mattemill[metrics]'`, Ray's own images); without it
this costs the same and nobody can read it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from mattemill.cluster.metrics.catalogue import BY_NAME, JOB_LABELS
from mattemill.cluster.metrics.cell_figures import CellFigures
from mattemill.cluster.metrics.figures import Around, Value, values
from mattemill.cluster.progress import Progress
from mattemill.cluster.ray_threads import start_ray_thread

_log = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds between two updates: Ray's agent gets them every 10, and all 87 series take 1 ms (benchmarks/metrics.py)."""

SPILL_LOOK = 30.0
"""Seconds between two looks at what was spilled, in a thread of their own: it reads logs, or asks the cluster."""


_NOTHING = 1e-9  # a counter of which there was nothing yet


class Sink(Protocol):
    """Where values go."""

    def send(self, found: Iterable[Value]) -> None: ...


class RayMetrics:
    """Values into Ray's metrics; each is made when it is first sent, which Ray must be running for."""

    def __init__(self, fingerprint: str) -> None:
        self._tags = {"fingerprint": fingerprint}
        self._made: dict[str, Any] = {}
        self._before: dict[tuple[str, tuple[str, ...]], float] = {}

    def send(self, found: Iterable[Value]) -> None:
        """Set gauges; add to counters what they have grown by."""
        for value in found:
            kind = BY_NAME[value.name].kind
            tags = {**self._tags, **value.labels}
            if kind == "gauge":
                self._of(value.name).set(value.value, tags)
                continue
            series = (value.name, tuple(value.labels.values()))
            before = self._before.get(series)
            if before is not None and value.value <= before:
                continue
            # Ray takes no 0, and `increase` needs a series that is there before its first event.
            total = max(value.value, _NOTHING)
            self._before[series] = total
            self._of(value.name).inc(total - (before or 0.0), tags)

    def _of(self, name: str) -> Any:
        made = self._made.get(name)
        if made is None:
            from ray.util.metrics import Counter, Gauge

            metric = BY_NAME[name]
            make: Any = Counter if metric.kind == "counter" else Gauge
            made = self._made[name] = make(name, metric.help, (*JOB_LABELS, *metric.labels))
        return made


class Publisher:
    """Told of progress, from one thread, it sends the values of the moment at most every `EVERY` seconds.

    figures: asked for each update, None while there is no cell. around: asked for each update. spilled: asked in a
    thread of its own, with an event that tells it to give up.
    An error is logged once and ends the publishing, never the job.
    """

    def __init__(
        self,
        figures: Callable[[], CellFigures | None],
        around: Callable[[int | None], Around],
        sink: Sink,
        spilled: Callable[[threading.Event], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._figures = figures
        self._around = around
        self._sink: Sink | None = sink
        self._spilled = spilled
        self._bytes: int | None = None
        self._looking: threading.Thread | None = None
        self._looked = -SPILL_LOOK
        self._clock = clock
        self._due = 0.0

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        last = progress.total is not None and progress.done >= progress.total
        if self._sink is None or (now < self._due and not last):
            return
        try:
            figures = self._figures()
            if figures is None:
                return
            self._due = now + EVERY
            self._look(now)
            self._sink.send(values(progress, figures, self._around(self._bytes)))
        except Exception as error:  # seeing less is no reason to cut nothing
            self._sink = None
            _log.warning("metrics end error=%r next=the job goes on without them", error)

    def _look(self, now: float) -> None:
        busy = self._looking is not None and self._looking.is_alive()
        if self._spilled is None or busy or now - self._looked < SPILL_LOOK:
            return
        self._looked = now
        self._looking = start_ray_thread(self._ask, "mattemill-spilled")

    def _ask(self, stop: threading.Event) -> None:
        assert self._spilled is not None
        found = self._spilled(stop)
        self._bytes = found if found >= 0 else None
