"""What `serve` says of its queue: counts since the start, what it holds, latency and backlog."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT = 1000  # latencies
_FOR = 300.0  # seconds a latency counts: what was slow an hour ago is not now


@dataclass(frozen=True, slots=True)
class EventStats:
    """One moment. All counts are since the start and only grow; held, parked, waiting and the ages are as they are now.

    received: messages, redeliveries included. deleted, released (given back unfinished), extended (hidden for longer),
    lost_holds (could not be extended: they come back). created: records ObjectCreated. done_before: of these, for
    content that is committed already. outdated: for content that was replaced since. gone: for objects that are not
    there any more, of which there is an outcome. ignored: records of no interest by kind. given_up: messages and events
    that ended as a failure. committed: images with an outcome.
    held: messages in hand. waiting: images that wait for their shard. parked: events that wait for an earlier one of
    the same key. backlog_age: seconds since the oldest message in hand came into the queue, 0 when none is: with a
    queue that is read in about its order this is the age of the backlog.
    latency_p50, latency_p95, latency_max: seconds from the event's time to the commit that makes the matte stand, of
    the last five minutes; None when there was none. An upper bound of the time to the matte, which is written before.
    """

    received: int = 0
    deleted: int = 0
    released: int = 0
    extended: int = 0
    lost_holds: int = 0
    created: int = 0
    done_before: int = 0
    outdated: int = 0
    gone: int = 0
    given_up: int = 0
    committed: int = 0
    held: int = 0
    waiting: int = 0
    parked: int = 0
    backlog_age: float = 0.0
    latency_p50: float | None = None
    latency_p95: float | None = None
    latency_max: float | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Fields by name, seconds rounded to hundredths."""
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(self).items()}


class Latencies:
    """The last latencies in seconds, at most a thousand and five minutes old."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def add(self, now: float, seconds: float) -> None:
        """One that ended at `now`; clocks of two machines may differ, so that one below 0 counts as 0."""
        self._seen.append((now, max(0.0, seconds)))

    def quantiles(self, now: float) -> tuple[float | None, float | None, float | None]:
        """(median, 95th percentile, maximum), None when there are none."""
        while self._seen and now - self._seen[0][0] > _FOR:
            self._seen.popleft()
        values = sorted(seconds for _, seconds in self._seen)
        if not values:
            return None, None, None
        return values[(len(values) - 1) // 2], values[(len(values) - 1) * 95 // 100], values[-1]
