"""Trying again what may go better the next time, with backoff, until a number of tries or a time is used up."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mattemill.pipeline.errors import StoreUnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")


class TransientError(Exception):
    """One try failed in a way that the next need not: 5xx, SlowDown, a timeout, a cut body.

    kind: 'throttled', 'server' (5xx), 'network' (timeouts, connections), 'damaged' (a body cut or changed).
    """

    def __init__(self, message: str, kind: str = "network") -> None:
        super().__init__(message)
        self.kind = kind


class FaultCounts:
    """Failed tries by kind since the last `take`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def note(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + 1

    def take(self) -> dict[str, int]:
        """The counts, which begin anew."""
        if not self._counts:  # nearly always, and asked for at each call of a worker
            return {}
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts


FAULTS = FaultCounts()
"""Of this process. What an S3 client tries again by itself, below us, is not seen."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how soon, how long.

    tries: in all. first_delay, longest_delay: seconds; the n-th pause is drawn from 0..min(longest, first * 2^n)
    ('full jitter', so that a thousand clients do not come back at once: Brooker, AWS Architecture Blog, 2015).
    give_up_after: seconds from the start after which no further try is begun.

    A batch whose store is away must end as `read_failed` well within call_timeout (120 s), not as a worker killed for
    hanging. With the timeouts of `S3Options` a try takes at most 17 s when the store accepts and never answers
    (2 attempts x 8 s, and up to 1 s between them), 7 s when nothing accepts (2 x 3 s + 1 s), 8 s when a body stalls.
    An image thus ends after 17 s; or 15 + 7 = 22 s, a last try begun just before give_up_after; or 17 s (two stalled
    bodies and a pause). 64 images on 16 threads are four rounds: 68 to 88 s. Only a body that keeps trickling is
    not bounded here. Fewer fetch_threads need a smaller fetch_batch.
    """

    tries: int = 8
    first_delay: float = 0.2
    longest_delay: float = 5.0
    give_up_after: float = 15.0

    def delay(self, failed_tries: int, draw: float) -> float:
        """Seconds to wait after that many failed tries (from 1); draw: uniform in 0..1."""
        return draw * min(self.longest_delay, self.first_delay * 2.0**failed_tries)


def retried(
    policy: RetryPolicy,
    what: str,
    call: Callable[[], T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> T:
    """The result of the call, tried again while it raises TransientError.

    what: names the thing in the message. Raises StoreUnavailableError when the tries or the time are used up; any
    other exception goes through at once.
    """
    start = clock()
    failed = 0
    while True:
        try:
            return call()
        except TransientError as error:
            failed += 1
            FAULTS.note(error.kind)
            pause = policy.delay(failed, draw())
            spent = clock() - start
            if failed >= policy.tries or spent + pause > policy.give_up_after:
                raise StoreUnavailableError(
                    f"{what}: {error} (gave up after {failed} tries in {spent:.1f} s); "
                    "check the store and the network, then run the same command again with --retry-failed"
                ) from error
            log.info("event=retry what=%r failed=%d pause=%.2f error=%r", what, failed, pause, str(error))
            sleep(pause)
