"""Decides what an event asks for: work, or nothing because what it tells of is done, replaced or gone, or patience.

An event says that a key had some content at some time. Events come twice, late, and in any order, and this process may
have forgotten all that it knew. So where the ledger has a row for the key and the event names other content, what
counts is what lies there now: one HEAD decides. Without it a late event would have the photograph read under an ETag
that is gone, end as a failure, and take the good matte with it.

A HEAD also decides where the newest row says that the object could not be read (`READING`): an event is news of it, and
the same bytes may have been uploaded again since. Each event leads to one more try at most, so that this ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from mattemill.pipeline.errors import MissingObjectError, StoreError, StoreUnavailableError
from mattemill.pipeline.ledger.committed import NewestRow, changed
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.storage.store import Entry

log = logging.getLogger(__name__)

READING = frozenset({Reason.MISSING, Reason.FORBIDDEN, Reason.CHANGED_WHILE_READING, Reason.READ_FAILED})
"""Failures that say nothing of the content: they do not stand against an event whose object is there."""


class Nothing(Enum):
    """Why there is nothing to do."""

    DONE = "done"  # this content has its outcome
    OUTDATED = "outdated"  # replaced since, and what replaced it has its outcome
    GONE = "gone"  # no object is there; what is committed of its last version stands


@dataclass(frozen=True, slots=True)
class Due:
    """To be done. ref: with the ETag and size that count. generation: of the row that it will have."""

    ref: ImageRef
    generation: int


@dataclass(frozen=True, slots=True)
class PutOff:
    """The store did not say what lies there: ask again, and when that goes on for long let `due` be a failure.

    away: it does not answer at all, which a moment later it may, and for other objects as little. Otherwise it answered
    that it will not say: mostly a 403, be it for wrong credentials, or for an object that is gone in a bucket whose
    listing this job may not see. error: what it said.
    """

    due: Due
    error: StoreError
    away: bool


Verdict = Due | Nothing | PutOff


class DueLedger(Protocol):
    """What is asked of the ledger."""

    def committed(self) -> Mapping[str, NewestRow]: ...

    def generation_due(self, ref: ImageRef) -> int | None: ...


class Judge:
    """head: looks an object up in its store."""

    def __init__(self, ledger: DueLedger, head: Callable[[ImageRef], Entry]) -> None:
        self._ledger = ledger
        self._head = head

    def __call__(self, ref: ImageRef) -> Verdict:
        """What this reference, as an event has it, asks for."""
        row = self._ledger.committed().get(ref.key)
        other = row is not None and (ref.etag is None or changed(ref.etag, row.etag))
        if row is None or not (other or row.reason in READING):
            generation = self._ledger.generation_due(ref)
            return Nothing.DONE if generation is None else Due(ref, generation)
        try:
            entry = self._head(ref)
        except MissingObjectError as error:
            log.info("event of an object that is gone key=%r error=%s", ref.key, error)
            return Nothing.GONE
        except StoreError as error:
            log.warning("event put off key=%r error=%s", ref.key, error)
            return PutOff(Due(ref, row.generation + 1), error, isinstance(error, StoreUnavailableError))
        ref = replace(ref, etag=entry.etag or ref.etag, size=entry.size)
        generation = self._ledger.generation_due(ref)
        if generation is not None:
            return Due(ref, generation)
        if row.reason in READING:
            return Due(ref, row.generation + 1)
        return Nothing.OUTDATED
