"""The settings of endless input: frozen, checked when made; a normal `serve` sets none."""

from __future__ import annotations

from dataclasses import dataclass

from mattemill.pipeline.errors import ConfigError

SHORTEST_VISIBILITY = 10.0
"""Seconds a queue must hide a received message at least: it is hidden anew at half of that, and a step of the intake
(a poll of a second, deletions, a look-up) has to fit into that half."""


@dataclass(frozen=True, slots=True)
class EventSettings:
    """The images of a shard at most are the job's `shard_size`."""

    max_age: float = 5.0  # seconds a shard waits to be filled: a matte soon, and at most 17,000 outcome files a day
    max_receives: int = 5  # of one message before it is given up: restarts alone rarely come to that; queues allow 10
    poll: float = 5.0  # seconds of one idle long poll: a cent a day, and a stop waits no longer than that
    idle_exit: float | None = None  # seconds without an event after which `serve` ends; None = never, it is a service

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_age", 0.0, 3600.0),
            ("max_receives", 1, 1000),
            ("poll", 0.0, 20.0),
            ("idle_exit", 0.0, 86_400.0),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name.replace('_', '-')} = {value}: must lie in {low:g}..{high:g}")
