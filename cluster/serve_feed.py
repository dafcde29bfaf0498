"""Feeds a job from a queue without end: a thread around the intake, and the commit that lets go of messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from mattemill.cluster.committer import CommitLedger
from mattemill.pipeline.events.errors import QueueAwayError
from mattemill.pipeline.events.intake import Intake
from mattemill.pipeline.events.stats import EventStats
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.shard import Shard

_log = logging.getLogger(__name__)

_PAUSE = 0.1  # seconds between two steps that have nothing to receive, and between two looks for the end
_AWAY = (1.0, 30.0)  # seconds between two steps while the queue does not answer: the first pause, the longest


class Backoff:
    """How long to wait for a queue that is away: longer each time, and at most a quarter of its visibility timeout, so
    that the renewals that are due at its half are tried in time.
    """

    def __init__(self, visibility: float) -> None:
        self._first, longest = _AWAY
        self._longest = min(longest, visibility / 4)
        self._next = self._first

    def pause(self) -> float:
        """Seconds until the next try."""
        pause = min(self._longest, self._next)
        self._next = 2 * pause
        return pause

    def reset(self) -> None:
        """It has answered."""
        self._next = self._first


class EventFeed:
    """A `Feed` that ends only when the intake is idle for long, which most never are.

    wants: whether more images can be admitted; from any thread. wake: called when there is something new.
    stop: when it is set nothing more is received, and what nobody works on is given back.
    """

    def __init__(
        self, intake: Intake, wants: Callable[[], bool], wake: Callable[[], None], stop: threading.Event
    ) -> None:
        self._intake = intake
        self._wants = wants
        self._wake = wake
        self._stop = stop
        self._closed = threading.Event()
        self._something = threading.Event()
        self._error: BaseException | None = None
        self._idle = False
        self._aways = 0
        self._backoff = Backoff(intake.visibility)
        self._thread = threading.Thread(target=self._run, name="mattemill-intake", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    @property
    def stats(self) -> EventStats:
        """Of the queue, as the last step left it."""
        return self._intake.stats

    @property
    def polls(self) -> int:
        """Answers of the queue: they show that it is there, also when nothing comes."""
        return self._intake.polls

    @property
    def asked(self) -> int:
        """Answers of the queue, and tries that it or the store did not answer: what is waited for is elsewhere, and the
        intake does not stand still."""
        return self._intake.polls + self._intake.in_vain + self._aways

    @property
    def found(self) -> int:
        """Images handed out so far."""
        return self._intake.offered

    @property
    def ended(self) -> bool:
        """Whether nothing more is received."""
        return self._idle or self._error is not None

    @property
    def exhausted(self) -> bool:
        """Whether the queue was idle for so long that this run ends."""
        return self._idle

    def wait_for_first(self, seconds: float | None = None) -> bool:
        """Wait until there is a shard, or nothing will come; whether there may be work. Raises what ended it."""
        self._something.wait(seconds)
        if self._error is not None:
            raise self._error
        return not self._idle and not self._stop.is_set()

    def take(self) -> Shard | None:
        """The next shard, None when there is none now. Raises what ended the intake."""
        if self._error is not None:
            raise self._error
        try:
            shard = self._intake.ready.popleft()
        except IndexError:
            return None
        self._intake.offered += len(shard.refs)
        return shard

    def close(self) -> None:
        """Nothing is worked on any more: delete what is committed, give back the rest."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._intake.close()

    def _run(self) -> None:
        try:
            self._receive()
            if not self._idle:
                self._intake.abandon()
            while not self._closed.wait(_PAUSE):  # what is in flight comes to its end; its messages stay hidden
                self._patiently(self._intake.renew, self._closed)
        except BaseException as error:  # handed to the thread that takes
            self._error = error
            self._something.set()
            self._wake()

    def _receive(self) -> None:
        while not self._stop.is_set() and not self._closed.is_set():
            received, wants = self.polls, self._wants()
            if not self._patiently(lambda wants=wants: self._intake.step(wants), self._closed, self._stop):  # type: ignore[misc]
                continue
            if self._intake.ready:
                self._something.set()
                self._wake()
            if self._intake.idle:
                self._idle = True
                self._something.set()
                self._wake()
                return
            if self.polls == received:
                self._stop.wait(_PAUSE)
        self._something.set()

    def _patiently(self, step: Callable[[], None], *ends: threading.Event) -> bool:
        """Whether the queue answered; if not, some time has passed, or one of `ends` is set."""
        try:
            step()
        except QueueAwayError as error:
            self._aways += 1
            pause = self._backoff.pause()
            _log.warning("queue away error=%s next=asked_again seconds=%.1f", error, pause)
            until = time.monotonic() + pause
            while not any(end.is_set() for end in ends) and (left := until - time.monotonic()) > 0:
                ends[0].wait(min(left, _PAUSE))
            return False
        self._backoff.reset()
        return True


class TellingLedger:
    """A ledger for the committer that tells of each commit. told: gets the keys whose outcomes stand now."""

    def __init__(self, ledger: CommitLedger, told: Callable[[list[str]], None]) -> None:
        self._ledger = ledger
        self._told = told

    def commit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> bool:
        wrote = self._ledger.commit(shard, outcomes)
        self._told([ref.key for ref in shard.refs])
        return wrote

    def check(self) -> None:
        self._ledger.check()

    def pack_due(self) -> bool:
        return self._ledger.pack_due()

    def pack_some(self) -> None:
        self._ledger.pack_some()
