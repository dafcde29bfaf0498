"""Which images enter the cell, and when: as many as the gate has credits for and the workers will soon need."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mattemill.cluster.gate import Gate
from mattemill.cluster.images import Image, OpenShard
from mattemill.cluster.stock import Stock
from mattemill.pipeline.photo import ImageRef


class Admission:
    """The images of offered shards in their order. O(1) an image."""

    def __init__(self, gate: Gate, stock: Stock) -> None:
        self._gate = gate
        self._stock = stock
        self._waiting: deque[tuple[ImageRef, OpenShard]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def wants_more(self) -> bool:
        """Whether another shard should be offered, so that admission never waits for the source."""
        return len(self._waiting) < self._stock.limit

    def offer(self, home: OpenShard) -> None:
        """The images of this shard wait for admission."""
        self._waiting.extend((ref, home) for ref in home.shard.refs)

    def clear(self) -> None:
        """Admit nothing more of what was offered."""
        self._waiting.clear()

    def admit(self, in_fetch: int) -> Iterator[Image]:
        """The images that enter now: a good part of a fetch batch, or none. in_fetch: images in fetch calls."""
        if not self._waiting:
            return
        chunk = self._stock.wants(self._gate.permits, in_fetch)
        if chunk <= 0:
            return
        # Credits come back one by one: wait until a good part of a batch fits, or fetches would hold one image each.
        some = min(chunk, len(self._waiting)) * self._gate.estimate(self._waiting[0][0].size)
        if not self._gate.room(min(some, self._gate.capacity // 4)):
            return
        while chunk > 0 and self._waiting:
            ref, home = self._waiting[0]
            permit = self._gate.try_admit(ref.size)
            if permit is None:
                return
            self._waiting.popleft()
            yield Image(ref, home, permit)
            chunk -= 1
