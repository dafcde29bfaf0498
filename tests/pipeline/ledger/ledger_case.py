"""What the ledger's tests share: a clock, outcomes, a store that dies, and a check that nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.committed import NewestRow
from mattemill.pipeline.ledger.holder import Holder
from mattemill.pipeline.ledger.layout import Layout, layout_below, shard_id_of
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.outcome_file import decode
from mattemill.pipeline.ledger.reading import read_committed
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.ledger.schema import LOG_SCHEMA
from mattemill.pipeline.ledger.stored_key import key_of
from mattemill.pipeline.outcome import Facts, Failure, Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import Shard, cut_into_shards
from mattemill.pipeline.storage.store import Blob, Entry, Store

FINGERPRINT = "0123456789abcdef"
ROOT = "s3://catalog/photos/"
LAYOUT = layout_below("mattes/")

FACTS = Facts(
    width=640,
    height=480,
    format="jpeg",
    encoded_bytes=123_456,
    etag="e" * 32,
    boxes=((1.0, 2.0, 300.5, 400.0), (5.0, 6.0, 7.0, 8.0)),
    box_scores=(0.75, 0.5),
    scores={"quality": 0.5, "soft_share": 0.25},
    seconds={"fetch": 0.5, "segment": 0.25},
    attempts={"fetch": 1, "segment": 2},
    worker={"fetch": "node:12"},
    device={"segment": "cpu"},
)


class Clock:
    """A clock that goes on by a millisecond each time it is read, and as far as it is told to."""

    def __init__(self, start: str = "2026-03-01T23:00:00+00:00") -> None:
        self.at = datetime.fromisoformat(start)

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def pass_by(self, **duration: float) -> None:
        self.at += timedelta(**duration)


class Killed(BaseException):
    """The process was killed: no handler of ordinary errors may run after it."""


class DyingStore:
    """A store whose process dies after `writes_left` more writes (PUTs and DELETEs); None = it lives.

    shard_files: the bytes of every shard's outcome file ever written: what was committed, whatever happens later.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writes_left: int | None = None
        self.writes = 0
        self.shard_files: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        with self._lock:
            self._breathe()
            self.store.put(key, data, content_type=content_type, if_absent=if_absent)
            if "/outcomes/" in key and shard_id_of(key) is not None:
                self.shard_files[key] = data
            self._wrote()

    def delete(self, key: str) -> None:
        with self._lock:
            self._breathe()
            self.store.delete(key)
            self._wrote()

    def get(self, key: str, *, etag: str | None = None, max_bytes: int | None = None) -> Blob:
        self._breathe()
        return self.store.get(key, etag=etag, max_bytes=max_bytes)

    def head(self, key: str) -> Entry:
        self._breathe()
        return self.store.head(key)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[Entry]:
        self._breathe()
        yield from self.store.list(prefix, start_after=start_after)

    def _breathe(self) -> None:
        if self.writes_left is not None and self.writes_left <= 0:
            raise Killed

    def _wrote(self) -> None:
        self.writes += 1
        if self.writes_left is not None:
            self.writes_left -= 1
            self._breathe()


def a_ref(key: str, etag: str | None = "e" * 32) -> ImageRef:
    return ImageRef(key, ROOT + key, etag, 123_456)


def some_refs(count: int) -> list[ImageRef]:
    return [a_ref(f"shoes/{number:04d}.jpg", f"{number:032x}") for number in range(count)]


def a_matte(ref: ImageRef) -> Matte:
    return Matte(f"mattes/{ref.key}.png", 4321, FACTS, 2000, 1500)


def a_failure(reason: Reason = Reason.NO_SUBJECT) -> Failure:
    return Failure(reason, "detect", "Nothing stands out in it.", b"\xff\xd8 preview", FACTS)


def all_cut(ref: ImageRef, generation: int) -> Outcome:
    return a_matte(ref)


def every_third_fails(ref: ImageRef, generation: int) -> Outcome:
    number = int(ref.key[-8:-4])
    if number % 3:
        return a_matte(ref)
    return a_failure(Reason.TRUNCATED if number % 2 else Reason.NO_SUBJECT)


def a_holder(run: str, host: str = "driver", pid: int = 7) -> Holder:
    return Holder(host, pid, "100", "boot", "pid:[1]", run, "2026-03-01T23:00:00+00:00")


def open_ledger(
    store: Store,
    now: Callable[[], datetime],
    *,
    fingerprint: str = FINGERPRINT,
    layout: Layout = LAYOUT,
    source_root: str = ROOT,
    config: JobConfig | None = None,
) -> Ledger:
    """The ledger of a driver that finds every earlier driver dead."""
    holder = a_holder(now().isoformat())
    return Ledger.at(
        store,
        layout,
        config or JobConfig(),
        fingerprint,
        source_root,
        now=now,
        holder=holder,
        lives=lambda holder: False,
    )


def outcomes_of(shard: Shard, end: Callable[[ImageRef, int], Outcome]) -> dict[str, Outcome]:
    return {ref.key: end(ref, shard.generation) for ref in shard.refs}


def run_job(
    store: Store,
    now: Callable[[], datetime],
    refs: Iterable[ImageRef],
    end: Callable[[ImageRef, int], Outcome] = all_cut,
    *,
    retry: RetrySelection | None = None,
    shard_size: int = 3,
    fingerprint: str = FINGERPRINT,
    finish: bool = True,
    config: JobConfig | None = None,
) -> list[tuple[str, int]]:
    """A whole run of a driver. Returns the keys that were due with their generations."""
    done: list[tuple[str, int]] = []
    with open_ledger(store, now, fingerprint=fingerprint, config=config) as ledger:
        for shard in cut_into_shards(ledger.due(refs, retry), shard_size):
            assert ledger.commit(shard, outcomes_of(shard, end))
            done += [(ref.key, shard.generation) for ref in shard.refs]
        if finish:
            ledger.finish_job()
    return done


def newest(store: Store, fingerprint: str = FINGERPRINT) -> dict[str, NewestRow]:
    """key -> newest row, as any reader of the sink finds it."""
    return dict(read_committed(store, LAYOUT, fingerprint)[0])


@lru_cache(maxsize=10_000)
def _rows(name: str, data: bytes) -> tuple[str, list[dict[str, Any]]]:
    """(date of the commit, rows) of a shard's file."""
    file = decode(data, name)
    return file.facts.date, file.table.to_pylist()


def newest_of_commits(files: Mapping[str, bytes]) -> dict[str, tuple[int, str | None, str | None]]:
    """key -> (generation, reason, etag) of the newest row of all shard files ever written, worked out plainly."""
    best: dict[str, tuple[tuple[int, datetime], tuple[int, str | None, str | None]]] = {}
    for name, data in files.items():
        for row in _rows(name, data)[1]:
            order = (row["generation"], row["finished_at"])
            key = key_of(row["key"])
            if key not in best or order > best[key][0]:
                best[key] = (order, (row["generation"], row["reason"], row["etag"]))
    return {key: value for key, (_, value) in best.items()}


def failures_of_commits(files: Mapping[str, bytes]) -> Counter[tuple[str, str, int, str]]:
    """(key, reason, generation, date) of every failure row ever committed."""
    return Counter(
        (row["key"], row["reason"], row["generation"], date)
        for name, data in files.items()
        for date, rows in [_rows(name, data)]
        for row in rows
        if row["outcome"] == "failure"
    )


def failures_in_log(store: Store) -> Counter[tuple[str, str, int, str]]:
    """(key, reason, generation, date) of every row of the failure log, reason and date from the folders' names."""
    found: Counter[tuple[str, str, int, str]] = Counter()
    for entry in store.list(LAYOUT.failures):
        date, reason = (part.partition("=")[2] for part in entry.key.split("/")[-3:-1])
        for row in decode(store.get(entry.key).data, entry.key, LOG_SCHEMA).table.to_pylist():
            found[(row["key"], reason, row["generation"], date)] += 1
    return found


def assert_nothing_lost(store: DyingStore) -> None:
    """What readers find now is the newest of everything ever committed, whatever was killed meanwhile."""
    found = {key: (row.generation, row.reason, row.etag) for key, row in newest(store.store).items()}
    assert found == newest_of_commits(store.shard_files)


def assert_whole(store: DyingStore) -> None:
    """After a finished run: besides, no leftovers, no row twice, and the failure log is the projection."""
    assert_nothing_lost(store)
    _, inventory = read_committed(store.store, LAYOUT, FINGERPRINT)
    assert inventory.leftovers == []
    names = [*inventory.packed, *(LAYOUT.shard_file(FINGERPRINT, shard) for shard in inventory.shards)]
    assert sorted(entry.key for entry in store.store.list(LAYOUT.outcomes(FINGERPRINT))) == sorted(names)
    rows = [
        (row["key"], row["generation"])
        for name in names
        for row in decode(store.store.get(name).data, name).table.to_pylist()
    ]
    assert len(rows) == len(set(rows))
    assert failures_in_log(store.store) == failures_of_commits(store.shard_files)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
