"""Lists the source in a thread of its own and cuts what is due into shards: listing and work overlap."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol

from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard, cut_into_shards

_AHEAD = 200_000
"""References held ahead of the work, about 70 MB: so many that the total of most jobs is known soon after the start,
and few enough for a source of a hundred million."""


class Feed(Protocol):
    """What gives a job its shards: a listing, or events without end.

    found: images so far; all of them once `ended`. exhausted: no shard will come any more.
    """

    @property
    def found(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    @property
    def exhausted(self) -> bool: ...

    def take(self) -> Shard | None:
        """The next shard; None when there is none now. Raises what went wrong where shards come from."""


class ShardFeed:
    """`take()` gives the next shard. An error of the listing comes out of `take` after the shards before it.

    due: (reference, generation) as `Ledger.due` streams it. limit: take only so many. wake: called from the thread when
    there is something new.
    """

    def __init__(
        self,
        due: Callable[[], Iterable[tuple[ImageRef, int]]],
        shard_size: int,
        limit: int | None,
        wake: Callable[[], None],
    ) -> None:
        self._due = due
        self._size = shard_size
        self._limit = limit
        self._wake = wake
        self._ready: deque[Shard] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mattemill-listing", daemon=True)
        self.taken = 0
        self.found = 0
        self.seen = 0
        self.ended = False

    def start(self) -> None:
        """Begin to list."""
        self._thread.start()

    def counting(self, refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
        """The references of the source, counted in `seen` as they are drawn: also those that are done already."""
        for ref in refs:
            self.seen += 1
            yield ref

    def wait_for_first(self, seconds: float) -> bool:
        """Wait until there is a shard or the listing has ended; returns whether there may be work."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self.ended, seconds)
            return bool(self._ready) or not self.ended or self._error is not None

    def take(self) -> Shard | None:
        """The next shard; None when there is none now (look at `exhausted`). Raises what the listing raised."""
        with self._changed:
            if self._ready:
                shard = self._ready.popleft()
                self._waiting -= len(shard.refs)
                self.taken += 1
                self._changed.notify_all()
                return shard
            if self.ended and self._error is not None:
                raise self._error
            return None

    @property
    def exhausted(self) -> bool:
        """Whether everything was listed, and taken."""
        with self._changed:
            return self.ended and not self._ready and self._error is None

    def stop(self) -> None:
        """List no further."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            due = self._counted()
            for shard in cut_into_shards(due if self._limit is None else islice(due, self._limit), self._size):
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._waiting < _AHEAD)
                    if self._stopped:
                        return
                    self._ready.append(shard)
                    self._waiting += len(shard.refs)
                    self._changed.notify_all()
                self._wake()
        except BaseException as raised:  # handed to the thread that takes
            error = raised
        finally:
            with self._changed:
                self._error = error
                self.ended = True
                self._changed.notify_all()
            self._wake()

    def _counted(self) -> Iterator[tuple[ImageRef, int]]:
        for entry in self._due():
            if self._limit is None or self.found < self._limit:
                self.found += 1
            yield entry
            if self._stopped:
                return
