"""What follows from a failed call, decided without side effects: who is tried again, how, and who has failed.

Key insight: an exception names its call, so its batch can be bisected among other work. A death does not: the worker
had several calls, and actors that run out of order do not promise which of them ran. So a death only makes suspects,
which run alone on an idle worker; only an image that was alone is judged, and what was queued behind is never blamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mattemill.cluster.actions import Call, Fault
from mattemill.cluster.images import Item
from mattemill.pipeline.outcome import Failure
from mattemill.pipeline.reasons import Reason


@dataclass(frozen=True, slots=True)
class Again:
    """Send these items once more as one batch; `solo`: alone on an idle worker, they are suspects."""

    items: list[Item]
    solo: bool


@dataclass(frozen=True, slots=True)
class End:
    """The image of this item ends as this failure."""

    item: Item
    failure: Failure


Verdict = Again | End


def after_exception(call: Call, message: str) -> Iterator[Verdict]:
    """A stage raised: halves, down to the image that causes it, which ends as internal_error."""
    if len(call.items) > 1:
        yield from (Again(half, solo=False) for half in _halves(call.items))
    else:
        yield End(call.items[0], Failure(Reason.INTERNAL_ERROR, call.stage, message))


def after_loss(calls: Sequence[Call], fault: Fault, message: str, call_timeout: float) -> Iterator[Verdict]:
    """A worker is gone with these calls, the oldest first. The oldest was running, as far as one can tell.

    Two deaths of an image that was alone, the second with nothing queued behind, are a worker_died (of a sick engine:
    internal_error); one overrun of `call_timeout` seconds alone is a timed_out.
    """
    for at, call in enumerate(calls):
        items = [item for item in call.items if not item.stale]
        if not items:
            continue
        if at > 0 or fault is Fault.EVICTED:
            yield Again(items, solo=False)
        elif len(call.items) > 1:
            yield from (Again(half, solo=True) for half in _halves(items))
        else:
            yield _judge(items[0], call, fault, message, call_timeout)


def _judge(item: Item, call: Call, fault: Fault, message: str, call_timeout: float) -> Verdict:
    item.deaths += 1
    if fault is Fault.TIMED_OUT:
        if call.solo or call.alone:
            text = f"stage {call.stage} took longer than call_timeout = {call_timeout:g} s for this image alone"
            return End(item, Failure(Reason.TIMED_OUT, call.stage, text))
    elif item.deaths >= 2 and call.solo:
        reason = Reason.INTERNAL_ERROR if fault is Fault.SICK else Reason.WORKER_DIED
        return End(item, Failure(reason, call.stage, message))
    return Again([item], solo=True)


def _halves(items: list[Item]) -> list[list[Item]]:
    middle = (len(items) + 1) // 2
    return [half for half in (items[:middle], items[middle:]) if half]
