"""Groups the items that wait before a stage into batches of one shape, closed by size, by bytes or by age."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """A plain deque per shape; the gate at the head bounds how much can wait here.

    max_age: seconds after which what waits is sent, full or not.
    max_bytes: decoded bytes of one batch; a single larger item goes alone.

    `put` is O(1). `take` looks at the head of each shape: their number is small (shape keys are size classes) and does
    not grow with the images or the workers.
    """

    __slots__ = ("_groups", "_waiting", "max_age", "max_bytes")

    def __init__(self, max_age: float, max_bytes: int) -> None:
        self.max_age = max_age
        self.max_bytes = max_bytes
        self._groups: dict[Hashable, deque[tuple[Item, int, float]]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    @property
    def waiting_bytes(self) -> int:
        """Decoded bytes of all that waits. O(items that wait): for a look now and then."""
        return sum(n_bytes for group in self._groups.values() for _, n_bytes, _ in group)

    def put(self, item: Item, key: Hashable, n_bytes: int, now: float) -> None:
        """Add an item of a shape, with its decoded bytes and the time (seconds of the injected clock)."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = deque()
        group.append((item, n_bytes, now))
        self._waiting += 1

    def take(self, size: int, now: float, *, flush: bool = False) -> list[Item]:
        """A closed batch of at most `size` items of one shape, the oldest first; empty when none is closed.

        With `flush`, the shape that has waited longest goes whatever its size.
        """
        chosen: Hashable = None
        found: deque[tuple[Item, int, float]] | None = None
        oldest = 0.0
        for key, group in self._groups.items():
            head = group[0][2]
            if (found is None or head < oldest) and (
                flush or len(group) >= size or now - head >= self.max_age or self._full(group)
            ):
                chosen, found, oldest = key, group, head
        if found is None:
            return []
        batch: list[Item] = []
        room = self.max_bytes
        while found and len(batch) < size:
            item, n_bytes, _ = found[0]
            if batch and n_bytes > room:
                break
            room -= n_bytes
            batch.append(item)
            found.popleft()
        if not found:
            del self._groups[chosen]
        self._waiting -= len(batch)
        return batch

    def next_close(self) -> float | None:
        """When the oldest item closes its batch by age, or None when nothing waits."""
        if not self._groups:
            return None
        return min(group[0][2] for group in self._groups.values()) + self.max_age

    def _full(self, group: deque[tuple[Item, int, float]]) -> bool:
        """Whether the first two already fill a batch by bytes (a cheap test that errs towards waiting for age)."""
        return group[0][1] * len(group) >= self.max_bytes
