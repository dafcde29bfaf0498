"""The book of a queue's messages: what each one waits for, and what may therefore be done with it. Pure.

A message is held from its receipt until it is finished (then it is deleted) or given back. It is finished when each of
its records has been settled: committed, or found to need no work. An image is in flight from when it is gathered into
a shard until that shard's commit; of one key there is at most one in flight, so that a shard holds no key twice and no
two shards race for one matte. What else comes for that key meanwhile waits with it: what is surely older shares its
end, all else is parked, and looked at afresh after the commit. That holds for the same content too: it may have been
replaced, or deleted, and uploaded again, and then it lies there although the try in flight did not find it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from mattemill.pipeline.events.notices import Created
from mattemill.pipeline.events.queue import Message
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard, make_shard

_REMEMBERED = 20_000  # keys whose newest committed event is known: spares a HEAD for events that come out of order


@dataclass(frozen=True, slots=True)
class Event:
    """One record of a message. too_often: its message has come so often that no further try is made.

    alone: it is the last try that is made, in a shard of its own: what killed the shards that it was in may have been
    another image of theirs.
    """

    created: Created
    ref: ImageRef
    message: str
    too_often: bool = False
    alone: bool = False


@dataclass(slots=True)
class _Held:
    message: Message
    renew_at: float
    open: int = 0
    sealed: bool = False


@dataclass(slots=True)
class _Flight:
    created: Created
    events: list[Event]


@dataclass(slots=True)
class _Gathering:
    since: float
    refs: list[ImageRef] = field(default_factory=list)


class Book:
    """One thread writes in it; `ready` may be emptied by another one.

    ready: shards to be done. shard_size: images. max_age: seconds after which a shard that is not full is closed.
    visibility: seconds a message stays hidden after its receipt or its last extension. All times of one clock.
    """

    def __init__(self, shard_size: int, max_age: float, visibility: float) -> None:
        self.ready: deque[Shard] = deque()
        self._size = shard_size
        self._max_age = max_age
        self._renew = visibility / 2
        self._held: dict[str, _Held] = {}
        self._flying: dict[str, _Flight] = {}
        self._parked: dict[str, list[Event]] = {}
        self._gathering: dict[int, _Gathering] = {}
        self._newest: OrderedDict[str, Created] = OrderedDict()
        self._finished: list[str] = []

    # ---- messages ----

    def hold(self, message: Message, now: float) -> bool:
        """A message has come; whether it is new. Of one in hand only the receipt is new: the old one may be void."""
        held = self._held.get(message.id)
        if held is not None:
            held.message = message
            held.renew_at = now + self._renew
            return False
        self._held[message.id] = _Held(message, now + self._renew)
        return True

    def seal(self, message: str) -> None:
        """All records of a message have been gone through."""
        self._held[message].sealed = True
        self._look(message)

    def finished(self) -> list[Message]:
        """Messages to be deleted; they stay held until `forget`."""
        return [self._held[id].message for id in self._finished if id in self._held]

    def to_renew(self, now: float) -> list[Message]:
        """Messages whose half time is over: to be hidden for longer, and then `renewed`."""
        return [held.message for held in self._held.values() if now >= held.renew_at]

    def renewed(self, messages: Iterable[Message], now: float) -> None:
        """These are hidden anew since `now`, or are lost: either way they come up again after half of the time."""
        for message in messages:
            self._held[message.id].renew_at = now + self._renew

    def forget(self, messages: Iterable[Message]) -> None:
        """These are deleted, or given back."""
        for message in messages:
            self._held.pop(message.id, None)
        self._finished = [id for id in self._finished if id in self._held]

    def messages(self) -> list[Message]:
        """All that are held."""
        return [held.message for held in self._held.values()]

    # ---- records ----

    def wait(self, event: Event) -> bool:
        """Whether a record has to wait, because its key is in flight; if so it is taken care of."""
        flight = self._flying.get(event.ref.key)
        if flight is None:
            return False
        self._held[event.message].open += 1
        if event.created.is_older_than(flight.created):
            flight.events.append(event)
        else:
            self._parked.setdefault(event.ref.key, []).append(event)
        return True

    def is_late(self, event: Event) -> bool:
        """Whether a later event of the same key is committed already."""
        newest = self._newest.get(event.ref.key)
        return newest is not None and event.created.is_older_than(newest)

    def put_off(self, event: Event) -> None:
        """A record that cannot be judged now: its message waits until `settle`."""
        self._held[event.message].open += 1

    def settle(self, event: Event) -> None:
        """A record that was put off or parked has been taken care of."""
        held = self._held.get(event.message)
        if held is not None:
            held.open -= 1
            self._look(event.message)

    def gather(self, event: Event, ref: ImageRef, generation: int, now: float) -> None:
        """A record is to be done; its key must not be in flight. ref: with the ETag that counts."""
        self._held[event.message].open += 1
        self._flying[ref.key] = _Flight(event.created, [event])
        if event.alone:
            self.ready.append(make_shard([ref], generation))
            return
        gathering = self._gathering.setdefault(generation, _Gathering(now))
        gathering.refs.append(ref)
        if len(gathering.refs) >= self._size:
            self._close(generation)

    def close_old(self, now: float) -> None:
        """Shards that have waited long enough are ready."""
        for generation in [g for g, shard in self._gathering.items() if now - shard.since >= self._max_age]:
            self._close(generation)

    def committed(self, keys: Iterable[str]) -> tuple[list[list[Event]], list[Event]]:
        """These keys have their outcome: (the events that this ends, by key, that which was gathered first; those that
        were parked behind them).

        The latter are to be looked at afresh, and then settled.
        """
        ended: list[list[Event]] = []
        parked: list[Event] = []
        for key in keys:
            flight = self._flying.pop(key, None)
            if flight is None:
                continue
            self._newest[key] = flight.created
            self._newest.move_to_end(key)
            if len(self._newest) > _REMEMBERED:
                self._newest.popitem(last=False)
            for event in flight.events:
                self.settle(event)
            ended.append(flight.events)
            parked.extend(self._parked.pop(key, ()))
        return ended, parked

    def abandon(self) -> list[Message]:
        """Do no more than what was taken from `ready`: the messages that wait for nothing of it, to be given back.

        Those that are done in part stay held, and are never finished.
        """
        unoffered = {ref.key for gathering in self._gathering.values() for ref in gathering.refs}
        self._gathering.clear()
        self._parked.clear()
        with suppress(IndexError):  # the other thread may take the last one meanwhile
            while True:
                unoffered.update(ref.key for ref in self.ready.pop().refs)
        for key in unoffered:
            del self._flying[key]
        busy = {event.message for flight in self._flying.values() for event in flight.events}
        busy.update(self._finished)
        return [held.message for id, held in self._held.items() if id not in busy]

    # ---- counts ----

    @property
    def waiting(self) -> int:
        """Images gathered and not taken yet."""
        gathered = sum(len(gathering.refs) for gathering in self._gathering.values())
        return gathered + sum(len(shard.refs) for shard in tuple(self.ready))

    @property
    def parked(self) -> int:
        """Events that wait for an earlier one of their key."""
        return sum(map(len, self._parked.values()))

    def __len__(self) -> int:
        """Messages held."""
        return len(self._held)

    def _close(self, generation: int) -> None:
        self.ready.append(make_shard(self._gathering.pop(generation).refs, generation))

    def _look(self, message: str) -> None:
        held = self._held[message]
        if held.sealed and held.open == 0:
            self._finished.append(message)
