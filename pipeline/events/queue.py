"""The small interface to a queue: receive, delete, extend, release. Implemented by `SqsQueue`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received. id: the same at each delivery. receipt: of this delivery: what is deleted or extended.

    sent: seconds since 1970 at which it came into the queue. receives: how often it was received, this time included.
    """

    id: str
    receipt: str
    body: str
    sent: float
    receives: int = 1


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What a queue says of itself. name: without its address. visibility: seconds a received message stays hidden.

    waiting, in_flight: messages, about. dead_letter_after: receives after which the queue itself puts a message aside;
    None when it has no dead-letter queue.
    """

    name: str
    arn: str
    visibility: float
    waiting: int
    in_flight: int
    dead_letter_after: int | None


class Queue(Protocol):
    """All calls raise QueueAwayError when the queue does not answer, QueueError when it never will."""

    url: str

    def facts(self) -> QueueFacts:
        """What the queue says of itself, now."""

    def receive(self, wait: float) -> Sequence[Message]:
        """Up to ten messages, at once when there are any, else after at most `wait` seconds none."""

    def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        """Delete messages; returns the receipts for which that is to be tried again. One that is not valid any more
        is none of them: its message comes back and is found to be done."""

    def extend(self, receipts: Sequence[str], seconds: float) -> int:
        """Hide messages for so many seconds from now; returns how many could not be, because they are gone or visible
        again."""

    def release(self, receipts: Sequence[str]) -> None:
        """Let others receive these messages at once."""
