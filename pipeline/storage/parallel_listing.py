"""A long listing by several threads, each at another range of keys, given in the order of the keys."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mattemill.pipeline.errors import StoreUnavailableError
from mattemill.pipeline.storage.key_ahead import key_ahead
from mattemill.pipeline.storage.store import Entry

FetchPage = Callable[[str | None], tuple[Sequence[Entry], bool]]
"""The page after a key (None: the first), and whether more may follow. Called from several threads."""

THREADS = 8
PATIENCE = 10
"""Pages listed one after the other before it goes parallel: short listings cost not one request more."""
_STRIDE = 6
"""Pages that a range is meant to have; about half a page of each is listed in vain."""
_SAMPLE = 32  # keys of a page from which the next ranges are guessed


@dataclass(eq=False)
class _Range:
    """The keys after `start`, up to and with `end` (None: all). after: how far it was listed."""

    start: str
    end: str | None
    sample: Sequence[str]
    pages_ahead: int = 0  # of the sample's page: how far this range's start was guessed from it
    after: str = ""
    pages: deque[Sequence[Entry]] = field(default_factory=deque)
    busy: bool = False
    done: bool = False
    guess: str | None = None

    def __post_init__(self) -> None:
        self.after = self.start
        self.guess = key_ahead(self.sample, self.pages_ahead + _STRIDE)

    def part(self) -> _Range | None:
        """Cut off what lies a stride ahead, as a range of its own; None when nothing can be cut off."""
        at = self.guess
        if at is None or at <= self.after or (self.end is not None and at >= self.end):
            return None
        cut = _Range(at, self.end, self.sample, self.pages_ahead + _STRIDE)
        self.end = at
        return cut

    def take(self, entries: Sequence[Entry], more: bool) -> int:
        """What a page brought; returns the number of pages that are held more than before."""
        self.busy = False
        end = self.end
        mine = entries if end is None else [entry for entry in entries if entry.key <= end]
        self.done = not more or len(mine) < len(entries)
        if not mine:
            return 0
        self.after = mine[-1].key
        self.done = self.done or self.after == end
        self.sample, self.pages_ahead = _sampled(entries), 0
        self.guess = None if self.done else key_ahead(self.sample, _STRIDE)
        self.pages.append(mine)
        return 1

    def learn(self, entries: Sequence[Entry], more: bool) -> None:
        """What a page that began before this range says of its keys: where, and whether, it may be cut next."""
        if not more or (self.end is not None and self.end <= entries[-1].key):
            self.guess = None  # no more than that page lies in it
        elif self.after < entries[-1].key:
            self.sample, self.pages_ahead = _sampled(entries), 0
            self.guess = key_ahead(self.sample, _STRIDE)


def parallel_listing(
    fetch: FetchPage, what: str, *, threads: int = THREADS, patience: int = PATIENCE
) -> Iterator[Entry]:
    """Every entry once, in the order of the keys; a key that comes or goes meanwhile is given once or not at all.

    The store must list in the order of the keys. At most 2 x 6 x threads pages are held, and one for each thread
    under way: 104,000 entries with 8 threads, about 50 MB. A consumer that waits stops the listing.
    Raises what `fetch` raises, and StoreUnavailableError when a page is not in order.
    """
    after: str | None = None
    sample: Sequence[str] = ()
    for _ in range(patience):
        entries, more = _fetched(fetch, after, what)
        yield from entries
        if not more:
            return
        after, sample = entries[-1].key, _sampled(entries)
    assert after is not None, "patience is at least one page"
    listing = _Listing(fetch, what, threads, _Range(after, None, sample))
    try:
        while (page := listing.next_page()) is not None:
            yield from page
    finally:
        listing.stop()


class _Listing:
    """The ranges in order, and the threads that list them. The first range is the one that is given out."""

    def __init__(self, fetch: FetchPage, what: str, threads: int, whole: _Range) -> None:
        self._fetch = fetch
        self._what = what
        self._most_held = 2 * _STRIDE * threads
        self._most_open = 2 * threads
        self._ranges = [whole]
        self._held = 0
        self._useful = self._vain = 0  # pages that brought keys, and pages of ranges that hold none
        self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"mattemill-range-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def next_page(self) -> Sequence[Entry] | None:
        """The next entries in order, None at the end. Raises what a thread raised."""
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                while self._ranges and self._ranges[0].done and not self._ranges[0].pages:
                    del self._ranges[0]
                    self._changed.notify_all()  # the one that is first now may be listed however many are held
                if not self._ranges:
                    return None
                if self._ranges[0].pages:
                    self._held -= 1
                    page = self._ranges[0].pages.popleft()
                    self._changed.notify_all()
                    return page
                self._changed.wait()

    def stop(self) -> None:
        """End the threads; one that waits for the store ends with its answer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (mine := self._pick()) is None:
                    self._changed.wait()
                if self._stopped or mine is None:
                    return
                mine.busy = True
            try:
                entries, more = _fetched(self._fetch, mine.after, self._what)
            except BaseException as error:  # handed to the thread that takes
                with self._changed:
                    self._error = self._error or error
                    self._stopped = True
                    self._changed.notify_all()
                return
            with self._changed:
                brought = mine.take(entries, more)
                self._held += brought
                self._useful += brought
                self._vain += 1 - brought
                # A range can hold less than a page, or nothing. Were the ones after it still guessed from the keys
                # before it, which lie closer or do not end yet, each of them could hold nothing too.
                for later in self._ranges[self._ranges.index(mine) + 1 :]:
                    later.learn(entries, more)
                if mine.done and not mine.pages:
                    self._ranges.remove(mine)
                self._changed.notify_all()

    def _pick(self) -> _Range | None:
        """The range to list a page of: the first that waits, or one cut off the first that can be cut."""
        for rank, one in enumerate(self._ranges):
            if one.done or one.busy or len(one.pages) >= 2 * _STRIDE:
                continue
            if self._held < self._most_held or (rank == 0 and not one.pages):
                return one
        if self._held >= self._most_held or sum(not one.done for one in self._ranges) >= self._most_open:
            return None
        if self._vain > self._useful // 8 + _STRIDE:
            return None  # keys that cannot be guessed: as many requests in vain as are worth trying
        for rank, one in enumerate(self._ranges):
            if not one.done and (cut := one.part()) is not None:
                self._ranges.insert(rank + 1, cut)
                return cut
        return None


def _fetched(fetch: FetchPage, after: str | None, what: str) -> tuple[Sequence[Entry], bool]:
    entries, more = fetch(after)
    before = after
    for entry in entries:
        if before is not None and entry.key <= before:
            raise StoreUnavailableError(
                f"{what}: the store lists {entry.key!r} after {before!r}, which is not the order of the keys; "
                "use a manifest or an inventory of this source"
            )
        before = entry.key
    if more and not entries:
        raise StoreUnavailableError(f"{what}: the store gave an empty page and says that more follows; run again")
    return entries, more


def _sampled(entries: Sequence[Entry]) -> Sequence[str]:
    step = max(1, len(entries) // _SAMPLE)
    return [entry.key for entry in (*entries[::step], entries[-1])]
