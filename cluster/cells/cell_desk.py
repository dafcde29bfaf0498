"""The cell's side of its leases: what it holds, what it has finished, and until when it may believe that. Pure.

Two clocks are never compared. The cell notes when it sent a report; orders that say `heard` prove that the driver
renewed the leases after that moment. So they hold at least until then plus the driver's `seconds`, and the cell stops
earlier, after FENCE of them: it drops everything and begins a new epoch, before another cell is given its shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from mattemill.cluster.cells.messages import CellState, Orders, Report, Result
from mattemill.pipeline.errors import JobRunningError
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.shard import Shard

FENCE = 0.7
"""Share of a lease after which a cell without news from the driver stops: the rest is for killing its workers."""

AHEAD = 2
"""Shards that lie ready in a cell: asking for the next takes up to half a second, in which the first is worked on."""


class FencedError(JobRunningError):
    """This cell had no news of the driver for so long that other cells may have its shards."""


class CellDesk:
    """Not thread-safe: the shell locks. seconds: of the driver's leases."""

    def __init__(self, seconds: float, now: float) -> None:
        self.epoch = 0
        self.draining = False
        self.drained = False
        self.broken = ""
        self._fence = seconds * FENCE
        self._seq = 0
        self._until = now
        self._sent: deque[tuple[int, float]] = deque([(0, now)])  # the answer to the start counts as report 0
        self._ready: deque[Shard] = deque()
        self._held: dict[str, Shard] = {}
        self._results: dict[str, Result] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is held but results."""
        return len(self._held) == len(self._results)

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    @property
    def has_results(self) -> bool:
        return bool(self._results)

    def receive(self, orders: Orders, now: float) -> None:
        """Take orders in."""
        if orders.seq <= self._seq:
            return  # overtaken by newer ones: the driver does not count on it any more
        self._seq = orders.seq
        while self._sent and self._sent[0][0] <= orders.heard:
            seq, sent = self._sent.popleft()
            if seq == orders.heard and orders.epoch == self.epoch:
                self._until = max(self._until, sent + self._fence)
        self.look(now)
        if orders.epoch > self.epoch:
            self.reset(orders.epoch)
        if orders.epoch != self.epoch:
            return
        for shard_id in orders.taken:
            if self._results.pop(shard_id, None) is not None:
                del self._held[shard_id]
        self.draining = self.draining or orders.drain
        if self.draining or self.broken or now >= self._until:
            return  # not held: the next report says so, and the driver leases them to another
        for shard in orders.shards:
            self._held[shard.id] = shard
            self._ready.append(shard)

    def look(self, now: float) -> bool:
        """Whether the leases hold; when they have run out, everything is dropped and a new epoch begins."""
        if self._held and now >= self._until:
            self.reset(self.epoch + 1)
            return False
        return True

    def reset(self, epoch: int) -> None:
        """Drop everything."""
        self.epoch = epoch
        self._ready.clear()
        self._held.clear()
        self._results.clear()

    def check(self, epoch: int, now: float) -> None:
        """Raises FencedError when what was leased in this epoch is no longer this cell's."""
        if not self.look(now) or epoch != self.epoch:
            raise FencedError(
                "this cell had no news of the driver for too long: it drops its shards, other cells do them"
            )

    def take(self, epoch: int) -> Shard | None:
        """The next shard to do."""
        return self._ready.popleft() if self._ready and epoch == self.epoch and not self.draining else None

    def finish(self, epoch: int, shard: Shard, outcomes: Mapping[str, Outcome]) -> bool:
        """A shard, or a part of one, has its outcomes; whether the cell still holds it."""
        if epoch != self.epoch:
            return False
        if shard.id in self._held:
            self._results[shard.id] = Result(shard.id, outcomes)
            return True
        some = next(iter(outcomes), None)
        for held in self._held.values():
            if held.id not in self._results and any(ref.key == some for ref in held.refs):
                self._results[held.id] = Result(held.id, outcomes, whole=False)
                return True
        return False

    def stopped(self, why: str = "") -> None:
        """Nothing is in flight any more and nothing will be: what has no result is given back."""
        self.broken = self.broken or why
        self.drained = True
        self._ready.clear()
        self._held = {shard_id: shard for shard_id, shard in self._held.items() if shard_id in self._results}

    def report(self, now: float, state: CellState | None = None) -> Report:
        """The answer to the newest orders."""
        self.look(now)
        self._sent.append((self._seq, now))
        wants = 0 if self.draining or self.drained else max(0, AHEAD - len(self._ready))
        return Report(
            epoch=self.epoch,
            seq=self._seq,
            holding=frozenset(self._held),
            results=tuple(self._results.values()),
            wants=wants,
            drained=self.drained,
            broken=self.broken,
            state=state or CellState(),
        )
