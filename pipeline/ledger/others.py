"""What the other jobs of a sink did to the files that this job looks after.

Where an output lies follows from the photograph's key and the format alone. Jobs with other settings (other
fingerprints) and the same format therefore write over, and delete, each other's files. Of their newest rows this
keeps what a job has to know of them: which of its own rows no longer tell what lies in the sink, and which matte of
another job may lie under a key.

Known limit: a job that was killed has written outputs of the shards in flight without committing them. Another job
whose rows stand cannot tell; when it takes the lease over it says so in the log. Finish the killed job first.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import LedgerError
from mattemill.pipeline.ledger.binding import read_job
from mattemill.pipeline.ledger.committed import (
    Committed,
    NewestRow,
    changed,
    from_microseconds,
    packed_etag,
    peek,
    unpack_etag,
)
from mattemill.pipeline.ledger.layout import Layout
from mattemill.pipeline.ledger.reading import read_committed
from mattemill.pipeline.ledger.stored_key import stored_key
from mattemill.pipeline.storage.store import Store

log = logging.getLogger(__name__)

KIND = ("output", "background", "subjects")
"""Settings that make another kind of picture out of the same photograph; the others make it better or worse."""

_HEAD = struct.Struct(">q?")


@dataclass(frozen=True, slots=True)
class LaidMatte:
    """A matte that a job has written under a key. same_kind: as this job's, as far as is known, see `KIND`."""

    finished_at: datetime
    etag: str | None
    same_kind: bool


class Others:
    """Empty when made; filled by `read_others`. About 190 bytes for each key that it keeps, and only for those."""

    def __init__(self) -> None:
        self._mattes: dict[str, bytes] = {}
        self._removed: set[str] = set()

    def take(self, theirs: Committed, own: Committed, same_kind: bool) -> None:
        """Keep what counts of another job's newest rows. own: this job's rows."""
        ours = own.packed()
        for stored, row in theirs.packed().items():
            generation, finished_us, failed = peek(row)
            mine = ours.get(stored)
            _, mine_us, mine_failed = (0, -1, False) if mine is None else peek(mine)
            newer = finished_us > mine_us
            if failed:
                # It has deleted our matte when the rule of `Ledger._stale` said so; of several tries only the last is
                # known, and an earlier one may have.
                lay_there = mine is not None and not mine_failed and newer
                if lay_there and (not same_kind or generation > 0 or _etag_changed(row, ours[stored])):
                    self._removed.add(stored)
            elif newer or mine_failed:
                # An older matte can still lie there when ours failed; under a newer matte of ours it does not.
                packed = _HEAD.pack(finished_us, same_kind) + packed_etag(row)
                self._mattes[stored] = max(packed, self._mattes.get(stored, b""))

    def overwrote(self, key: str, row: NewestRow) -> bool:
        """Whether another job has written over, or removed, what this job's newest row of a key left there."""
        if stored_key(key) in self._removed:
            return True
        matte = self.matte(key)
        return matte is not None and matte.finished_at > row.finished_at

    def replaced(self, stored_keys: Iterable[str]) -> None:
        """This job has committed these anew: what was removed before no longer counts. Mattes tell by their time."""
        self._removed.difference_update(stored_keys)

    def matte(self, key: str) -> LaidMatte | None:
        """The newest matte of another job that may lie under a key, None when this job's own is newer or none is."""
        packed = self._mattes.get(stored_key(key))
        if packed is None:
            return None
        finished_us, same_kind = _HEAD.unpack_from(packed)
        return LaidMatte(from_microseconds(finished_us), unpack_etag(packed[_HEAD.size :]), same_kind)

    def __len__(self) -> int:
        """Keys of which anything is kept."""
        return len(self._mattes.keys() | self._removed)


def read_others(store: Store, layout: Layout, fingerprint: str, config: JobConfig, own: Committed) -> Others:
    """Read the newest rows of all other jobs of the sink that have the same format, one job at a time.

    A job without a readable record is taken for one of the same format and kind. Raises LedgerError, StoreError.
    """
    others = Others()
    for name in job_folders(store, layout):
        if name == fingerprint:
            continue
        settings = _settings(store, layout, name)
        if settings.get("format", config.format) != config.format:
            continue
        same_kind = all(settings[field] == getattr(config, field) for field in KIND if field in settings)
        theirs, _ = read_committed(store, layout, name)
        others.take(theirs, own, same_kind)
        log.info("other job read fingerprint=%s rows=%d same_kind=%s", name, len(theirs), same_kind)
    return others


def fingerprints(store: Store, layout: Layout) -> list[str]:
    """The fingerprints of which the sink knows anything, sorted."""
    found = {name.removesuffix(".json") for name in _names(store, layout.jobs)}
    found.update(job_folders(store, layout))
    return sorted(found)


def job_folders(store: Store, layout: Layout) -> Iterator[str]:
    """The fingerprints that have outcome files."""
    return _names(store, layout.all_outcomes)


def _names(store: Store, prefix: str) -> Iterator[str]:
    """The first segments below a prefix, each once; files of one folder are skipped over, not listed."""
    after: str | None = None
    while True:
        entry = next(iter(store.list(prefix, start_after=after)), None)
        if entry is None:
            return
        name, slash, _ = entry.key.removeprefix(prefix).partition("/")
        yield name
        # '0' is the character after '/': everything below the folder sorts before it.
        after = f"{prefix}{name}0" if slash else entry.key


def _settings(store: Store, layout: Layout, fingerprint: str) -> Mapping[str, Any]:
    try:
        record = read_job(store, layout, fingerprint)
    except LedgerError as error:
        log.warning("settings of another job unknown fingerprint=%s error=%s", fingerprint, error)
        return {}
    return record.settings if record is not None else {}


def _etag_changed(row: bytes, other: bytes) -> bool:
    return changed(unpack_etag(packed_etag(row)), unpack_etag(packed_etag(other)))
