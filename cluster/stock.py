"""How many images are kept ready between fetch and workers: enough that none waits, few enough to drain fast."""

from __future__ import annotations

from collections import deque

_AHEAD = 1.0
"""Seconds of work that should be fetched before it is needed: several times the latency of a batch from S3."""

_WINDOW = 5.0
"""Seconds over which the rate of outcomes is measured."""


class Stock:
    """Follows the measured rate of outcomes.

    held: admitted images that wait in a queue (not those that a worker holds). limit: how many may.
    fetch_batch: images a fetch call: half a second of work, at most `largest_batch`.
    widest: workers of the largest stage: at the start, before there is a rate, each must find two images.

    The limit is twice what was used in `_AHEAD` seconds, so that a job which was held back by it doubles its
    stock each second until something else limits it.
    """

    __slots__ = ("_seen", "_smallest", "fetch_batch", "held", "largest_batch", "limit", "rate")

    def __init__(self, largest_batch: int, widest: int) -> None:
        self.largest_batch = largest_batch
        self.held = 0
        self.rate = 0.0
        self._smallest = max(1, min(largest_batch, max(4, 2 * widest)))
        self._seen: deque[tuple[float, int]] = deque()
        self.fetch_batch = self._smallest
        self.limit = max(2 * self._smallest, 2 * widest)

    def tick(self, now: float, ended: int) -> None:
        """Note how many images have ended by `now` (seconds)."""
        if self._seen and now - self._seen[-1][0] < 0.1:
            return
        if not self._seen and ended == 0:
            return  # the time before the first outcome says nothing of the rate
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        (then, before), (last, after) = self._seen[0], self._seen[-1]
        if last > then:
            self.rate = (after - before) / (last - then)
        self.fetch_batch = max(self._smallest, min(self.largest_batch, int(self.rate * 0.5)))
        self.limit = max(self.limit if self.rate == 0 else 0, 2 * self.fetch_batch, int(2 * _AHEAD * self.rate))

    def wants(self, in_flight: int, in_fetch: int) -> int:
        """Images to admit now: a whole fetch batch or none, so that fetches are not of one image each.

        in_flight: admitted images without an outcome. in_fetch: those of them that fetch workers hold.
        """
        if in_flight == 0:
            return self.limit
        free = self.limit - self.held - in_fetch
        return free if free >= self.fetch_batch else 0
