"""The intake: takes messages from a queue as fast as their images are wanted, and lets go of them when they are done.

Without threads and with the clocks given: `step` is called again and again by one thread, `committed` by any. What a
step does has an order that matters: first what ended (so that messages are deleted, and keys are free), then the holds
that have to be renewed, and only then new messages.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mattemill.pipeline.errors import MattemillError
from mattemill.pipeline.events.book import Book, Event
from mattemill.pipeline.events.judge import Due, Nothing, PutOff, Verdict
from mattemill.pipeline.events.notices import read_notices
from mattemill.pipeline.events.queue import Message, Queue, QueueFacts
from mattemill.pipeline.events.references import EventSource
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.events.stats import EventStats, Latencies
from mattemill.pipeline.outcome import Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import Shard

log = logging.getLogger(__name__)

_BUSY_POLL = 1.0  # seconds of a long poll while something is held: its end must not wait long for the poll's
_LATER = (5.0, 60.0)  # seconds after which an event that could not be judged is judged again: the first time, at most
_PATIENCE = {True: 3600.0, False: 300.0}  # seconds of that until a failure row: the store is away, it refuses to say
_BEHIND = 4  # shards' worth of events that wait (put off, or behind one in flight) before nothing more is received
_LAST_TRIES = 3  # of the deletions, when the intake closes
_SHOWN = 200  # characters of a body that cannot be read, in its failure row


@dataclass(frozen=True, slots=True)
class _Later:
    """An event to be judged at `at`. since: when it was first put off; None when nobody was asked yet. away: why."""

    at: float
    event: Event
    since: float | None
    away: bool


Fail = Callable[[ImageRef, int, Failure], None]
"""Commits one failure: (reference, generation, failure). Raises what a commit raises."""


class Intake:
    """ready: shards to be done, taken from the left by whoever does them. polls: answers of the queue so far. in_vain:
    questions to the store that it did not answer, so far. visibility: seconds that the queue hides a message.

    judge: what a reference asks for. fail: commits the failure of a message that is given up. wall: seconds since 1970,
    for latencies and ages; clock: monotonic seconds, for all that is done by time.
    """

    def __init__(
        self,
        queue: Queue,
        facts: QueueFacts,
        source: EventSource,
        judge: Callable[[ImageRef], Verdict],
        fail: Fail,
        settings: EventSettings,
        shard_size: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._facts = facts
        self._source = source
        self._judge = judge
        self._fail = fail
        self._settings = settings
        self._shard_size = shard_size
        self._clock = clock
        self._wall = wall
        self._book = Book(shard_size, settings.max_age, facts.visibility)
        self._commits: deque[Sequence[str]] = deque()
        self._later: list[_Later] = []
        self._away = False
        self._judge_until = 0.0
        self._latencies = Latencies()
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._ignored: dict[str, int] = {}
        self._empty_since: float | None = None
        self.ready: deque[Shard] = self._book.ready
        self.polls = 0
        self.in_vain = 0
        self.visibility = facts.visibility
        self.offered = 0
        self.stats = EventStats()

    def committed(self, keys: Iterable[str]) -> None:
        """The outcomes of these keys stand. From any thread; the next step acts on it."""
        self._commits.append(tuple(keys))

    def step(self, wants: bool) -> None:
        """One round. wants: whether more images can be admitted; if not, nothing is received.

        Takes as long as a poll and its look-ups. Raises QueueAwayError when the queue does not answer: step again, a
        little later; all other errors are final.
        """
        self._housekeep()
        if wants and not self.ready and self._book.waiting < self._shard_size and self._keeps_up:
            asked = self._clock()
            messages = self._queue.receive(self._patience())
            self.polls += 1
            now = self._clock()
            self._judge_until += now - asked
            if messages:
                self._empty_since = None
            elif self._empty_since is None:
                self._empty_since = now
            for message in messages:
                self._take(message)
            self._book.close_old(self._clock())
            self._delete()
        self._publish()

    @property
    def _keeps_up(self) -> bool:
        """Whether more may be received: not while the store is away (what came now could not be read either; one event
        alone does not say so, it may be its object that cannot be looked up), and not while much waits already."""
        if sum(later.away for later in self._later) > 1:
            return False
        return self._book.parked + len(self._later) < _BEHIND * self._shard_size

    @property
    def idle(self) -> bool:
        """Whether the queue has been empty, and nothing in hand, for `idle_exit` seconds."""
        limit = self._settings.idle_exit
        if limit is None or self._empty_since is None or len(self._book) or self.ready:
            return False
        return self._clock() - self._empty_since >= limit

    def abandon(self) -> None:
        """Take nothing more, and give back at once what is not being worked on. Holds are renewed by `renew`."""
        self._give_back(self._book.abandon())
        self._later.clear()
        self._publish()

    def renew(self) -> None:
        """A step that takes nothing: for the time in which work in flight comes to its end."""
        self._housekeep()
        self._publish()

    def close(self) -> None:
        """Nothing is worked on and no commit comes any more: delete what is finished, give the rest back.

        Raises nothing: what cannot be done here comes back by itself.
        """
        self._give_back(self._book.abandon())
        self._later.clear()
        self._end_committed()
        for _ in range(_LAST_TRIES):
            if not self._delete_quietly():
                break
        finished = {message.id for message in self._book.finished()}
        self._give_back([message for message in self._book.messages() if message.id not in finished])
        self._publish()

    # ---- one step ----

    def _housekeep(self) -> None:
        now = self._clock()
        # A step has to end in time for the next renewals, however slow the store is.
        self._away, self._judge_until = False, now + self.visibility / 4
        self._end_committed()
        again = sorted((later for later in self._later if later.at <= now), key=lambda later: later.at)
        if again:
            self._later = [later for later in self._later if later.at > now]
            for later in again:
                self._place(later.event, later)
                self._book.settle(later.event)
        self._book.close_old(now)
        try:
            self._delete()
        finally:  # a queue that takes no deletions may well take these
            self._renew()

    def _renew(self) -> None:
        now = self._clock()
        over = self._book.to_renew(now)
        if over:
            lost = self._queue.extend([message.receipt for message in over], self.visibility)
            self._book.renewed(over, now)
            self._counts["extended"] += len(over) - lost
            self._counts["lost_holds"] += lost

    def _end_committed(self) -> None:
        while self._commits:
            ended, parked = self._book.committed(self._commits.popleft())
            wall, now = self._wall(), self._clock()
            for first, *others in ended:
                self._counts["committed"] += 1
                self._counts["done_before"] += len(others)
                if first.created.time is not None:
                    self._latencies.add(now, wall - first.created.time)
            for event in parked:
                self._place(event)
                self._book.settle(event)

    def _patience(self) -> float:
        poll = min(self._settings.poll, _BUSY_POLL) if len(self._book) else self._settings.poll
        return poll if self._settings.idle_exit is None else min(poll, max(1.0, self._settings.idle_exit))

    def _take(self, message: Message) -> None:
        self._counts["received"] += 1
        if not self._book.hold(message, self._clock()):
            return
        notices = read_notices(message.body)
        for kind, number in notices.ignored.items():
            self._ignored[kind] = self._ignored.get(kind, 0) + number
        most = self._settings.max_receives
        too_often, alone = message.receives > most, message.receives == most > 1
        for created in notices.created:
            self._counts["created"] += 1
            ref = self._source.reference(created)
            if ref is not None:
                self._place(Event(created, ref, message.id, too_often, alone))
        if notices.bad:
            self._give_up_message(message, notices.bad)
        self._book.seal(message.id)

    def _place(self, event: Event, put_off: _Later | None = None) -> None:
        """Find out what a record asks for, and have it done. put_off: how it was put off before."""
        if self._book.wait(event):
            return
        if self._book.is_late(event):
            self._counts["outdated"] += 1
            return
        now = self._clock()
        if self._away or now >= self._judge_until:  # unasked: the answer would take too long
            # A little before those that were asked, so that not the same one is asked each time.
            at = now + 0.9 * _LATER[0] if self._away else now
            self._put_off(_Later(at, event, put_off.since if put_off else None, self._away))
            return
        verdict = self._judge(event.ref)
        if isinstance(verdict, Due):
            if event.too_often:
                self._give_up(event, verdict)
            else:
                self._book.gather(event, verdict.ref, verdict.generation, self._clock())
        elif isinstance(verdict, PutOff):
            self._not_judged(event, verdict, put_off)
        else:
            self._counts[_COUNT_OF[verdict]] += 1

    def _not_judged(self, event: Event, verdict: PutOff, put_off: _Later | None) -> None:
        now = self._clock()
        self.in_vain += 1
        self._away = verdict.away
        since = now
        if put_off is not None and put_off.since is not None and put_off.away is verdict.away:
            since = put_off.since
        if now - since < _PATIENCE[verdict.away]:
            first, longest = _LATER
            pause = first if verdict.away else min(longest, max(first, now - since))
            self._put_off(_Later(now + pause, event, since, verdict.away))
            return
        text = f"for {now - since:.0f} s it could not be found out what lies there: {verdict.error}"
        self._fail(verdict.due.ref, verdict.due.generation, Failure(verdict.error.reason, "queue", text))
        self._counts["given_up"] += 1
        log.warning("event given up key=%r error=%s", event.ref.key, verdict.error)

    def _put_off(self, later: _Later) -> None:
        self._book.put_off(later.event)
        self._later.append(later)

    def _give_up(self, event: Event, due: Due) -> None:
        text = (
            f"its message {event.message} was received more than {self._settings.max_receives} times and never came to "
            "an end: whatever worked on it was killed each time; look at the logs of those runs, then run with "
            "--retry-failed"
        )
        self._fail(due.ref, due.generation, Failure(Reason.BAD_MESSAGE, "queue", text))
        self._counts["given_up"] += 1
        log.warning("message given up id=%s key=%r", event.message, event.ref.key)

    def _give_up_message(self, message: Message, bad: Sequence[str]) -> None:
        """A message without a photograph: the row has an address of its own."""
        address = f"sqs://{self._facts.name}/{message.id}"
        ref = ImageRef(address, address, etag=message.id)  # so that the judge looks for no object there
        verdict = self._judge(ref)
        if not isinstance(verdict, Due):
            return  # given up before, and not deleted
        body = message.body if len(message.body) <= _SHOWN else message.body[:_SHOWN] + "…"
        text = f"a message of the queue {'; and '.join(bad)}: {body!r}"
        self._fail(ref, verdict.generation, Failure(Reason.BAD_MESSAGE, "queue", text))
        self._counts["given_up"] += 1
        log.warning("message given up id=%s why=%s", message.id, "; ".join(bad))

    # ---- letting go ----

    def _delete(self) -> None:
        finished = self._book.finished()
        if not finished:
            return
        again = set(self._queue.delete([message.receipt for message in finished]))
        gone = [message for message in finished if message.receipt not in again]
        self._counts["deleted"] += len(gone)
        self._book.forget(gone)

    def _delete_quietly(self) -> bool:
        """Whether there is still something to delete."""
        try:
            self._delete()
        except MattemillError as error:
            log.warning("messages not deleted error=%s next=they_come_back_and_are_found_done", error)
        return bool(self._book.finished())

    def _give_back(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        try:
            self._queue.release([message.receipt for message in messages])
            self._counts["released"] += len(messages)
        except MattemillError as error:
            log.warning("messages not given back error=%s next=they_come_back_by_themselves", error)
        self._book.forget(messages)

    def _publish(self) -> None:
        held = self._book.messages()
        oldest = min((message.sent for message in held), default=None)
        p50, p95, most = self._latencies.quantiles(self._clock())
        self.stats = EventStats(
            **self._counts,
            held=len(held),
            waiting=self._book.waiting,
            parked=self._book.parked,
            backlog_age=0.0 if oldest is None else max(0.0, self._wall() - oldest),
            latency_p50=p50,
            latency_p95=p95,
            latency_max=most,
            ignored=dict(self._ignored),
        )


_COUNT_OF = {Nothing.DONE: "done_before", Nothing.OUTDATED: "outdated", Nothing.GONE: "gone"}
_COUNTS = (
    "received",
    "deleted",
    "released",
    "extended",
    "lost_holds",
    "created",
    "done_before",
    "outdated",
    "gone",
    "given_up",
    "committed",
)
