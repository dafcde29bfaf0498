"""Which images of a listing are due: an anti-join by key against the newest committed rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from mattemill.pipeline.ledger.committed import NewestRow, changed
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason

Head = Callable[[ImageRef], str | None]
"""Looks up the current ETag of an image whose source lists none; None when it cannot tell."""

HEAD_THREADS = 16
HEAD_CHUNK = 512


@dataclass(frozen=True, slots=True)
class RetrySelection:
    """`--retry-failed`: only the images whose newest row is a failure; with `reason`, only those of that one."""

    reason: Reason | None = None

    def takes(self, row: NewestRow) -> bool:
        return row.failed and (self.reason is None or row.reason == self.reason)


@dataclass(slots=True)
class ResumeCounts:
    """What became of the listed references; filled while `due` is drawn from.

    new: no row yet. changed: another ETag than the newest row's. overwritten: a job of other settings has since
    written over the output. retried: failures that were asked for. already_done: their row stands.
    not_selected: new, changed or overwritten, but only failures were asked for.
    """

    new: int = 0
    changed: int = 0
    overwritten: int = 0
    retried: int = 0
    already_done: int = 0
    not_selected: int = 0

    @property
    def due(self) -> int:
        return self.new + self.changed + self.overwritten + self.retried

    @property
    def listed(self) -> int:
        """Different keys that the listing held."""
        return self.due + self.already_done + self.not_selected


def due(
    refs: Iterable[ImageRef],
    committed: Mapping[str, NewestRow],
    retry: RetrySelection | None,
    counts: ResumeCounts,
    head: Head | None = None,
    overwritten: Callable[[str, NewestRow], bool] = lambda key, row: False,
) -> Iterator[tuple[ImageRef, int]]:
    """Stream the references that have to be done, each with the generation that its row will have.

    Due without `retry`: no row (generation 0); an ETag other than that of the newest row, or a row whose output was
    `overwritten` by another job (newest + 1, so that a shard's id is never that of committed work). Due with `retry`:
    only the failures that it takes (newest + 1). Without an ETag in the listing a row stands, unless `head` looks up
    another one. The source gives each key once (its contract); a key that came twice would be done twice, and one of
    its two rows would count.
    """
    for ref in _with_etags(refs, committed, head):
        row = committed.get(ref.key)
        if retry is not None:
            if row is not None and retry.takes(row):
                counts.retried += 1
                yield ref, row.generation + 1
            elif row is None or changed(ref.etag, row.etag) or overwritten(ref.key, row):
                counts.not_selected += 1
            else:
                counts.already_done += 1
        elif row is None:
            counts.new += 1
            yield ref, 0
        elif changed(ref.etag, row.etag):
            counts.changed += 1
            yield ref, row.generation + 1
        elif overwritten(ref.key, row):
            counts.overwritten += 1
            yield ref, row.generation + 1
        else:
            counts.already_done += 1


def _with_etags(refs: Iterable[ImageRef], committed: Mapping[str, NewestRow], head: Head | None) -> Iterator[ImageRef]:
    if head is None:
        yield from refs
        return

    def looked_up(ref: ImageRef) -> ImageRef:
        return replace(ref, etag=head(ref)) if ref.etag is None and ref.key in committed else ref

    stream = iter(refs)
    with ThreadPoolExecutor(HEAD_THREADS, thread_name_prefix="ledger-head") as pool:
        while chunk := list(islice(stream, HEAD_CHUNK)):
            yield from pool.map(looked_up, chunk)
