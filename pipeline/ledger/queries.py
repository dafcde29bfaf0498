"""What a sink's ledger says to a person: the state of each job, and what failed and why. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import MissingObjectError
from mattemill.pipeline.ledger.binding import JobRecord, bound_source, read_job
from mattemill.pipeline.ledger.committed import RESUME_SCHEMA, Committed, NewestRow
from mattemill.pipeline.ledger.holder import Holder, process_lives
from mattemill.pipeline.ledger.layout import Layout, layout_below
from mattemill.pipeline.ledger.lease import Lives, read_lease
from mattemill.pipeline.ledger.others import fingerprints
from mattemill.pipeline.ledger.outcome_file import OutcomeFile
from mattemill.pipeline.ledger.packing import newest_rows
from mattemill.pipeline.ledger.reading import read_committed, read_files, read_inventory
from mattemill.pipeline.ledger.schema import PACKED_SCHEMA
from mattemill.pipeline.ledger.stored_key import key_of, stored_key
from mattemill.pipeline.reasons import SENTENCES, Reason
from mattemill.pipeline.storage.location import Location, open_store
from mattemill.pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class Running:
    """A run lease that was not given back.

    alive: True = that process lives on this host; False = it is gone (a killed run: the next one resumes);
    None = it is on another host, where only `last_beat` (the store's clock) tells: runs beat every 10 s.
    """

    holder: Holder
    alive: bool | None
    last_beat: datetime


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One fingerprint in a sink.

    done = mattes + the sum of failed: images whose newest row this is. failed: by reason.
    open: listed images without an outcome, by the last whole listing; None when no run has got to its end.
    first_commit, last_commit: of the rows that count. bytes: of the outcome files.
    """

    fingerprint: str
    done: int
    mattes: int
    failed: Mapping[str, int]
    open: int | None
    first_commit: datetime | None
    last_commit: datetime | None
    shard_files: int
    packed_files: int
    bytes: int
    running: Running | None
    record: JobRecord | None


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """All jobs of a sink, the one that ran last first. source: root that the sink belongs to; None = no run yet."""

    sink: str
    source: str | None
    jobs: tuple[JobStatus, ...]


@dataclass(frozen=True, slots=True)
class FailureExample:
    """One failed image, as its newest row has it."""

    key: str
    etag: str | None
    stage: str
    message: str
    width: int | None
    height: int | None
    generation: int
    finished_at: datetime
    attempts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The failures of one reason. sentence: what the reason means. examples: the first by key."""

    reason: str
    sentence: str
    count: int
    examples: tuple[FailureExample, ...]


@dataclass(frozen=True, slots=True)
class FailureReport:
    """What failed in one job and was not put right since, the most frequent reason first.

    fingerprint: None when the sink holds no job. log: the folder of the failure log, for pandas or DuckDB.
    """

    sink: str
    fingerprint: str | None
    done: int
    groups: tuple[FailureGroup, ...]
    log: str

    @property
    def failed(self) -> int:
        return sum(group.count for group in self.groups)


def status(sink: str, config: JobConfig) -> SinkStatus:
    """The state of every job of a sink. Reads all of its outcome files. Raises LedgerError, StoreError."""
    location = Location.parse(sink)
    return status_at(open_store(location, config), layout_below(location.prefix), str(location))


def status_at(store: Store, layout: Layout, sink: str, lives: Lives = process_lives) -> SinkStatus:
    """`status` on a store that is there already."""
    running = _running(store, layout, lives)
    jobs = [
        _job_status(store, layout, fingerprint, running.get(fingerprint)) for fingerprint in fingerprints(store, layout)
    ]
    jobs.sort(key=lambda job: (job.record.last_run if job.record else "", job.fingerprint), reverse=True)
    return SinkStatus(sink, bound_source(store, layout), tuple(jobs))


def failures(
    sink: str, config: JobConfig, reason: Reason | None = None, limit: int = 3, *, fingerprint: str | None = None
) -> FailureReport:
    """What failed and stands, by reason, with up to `limit` examples each.

    fingerprint: of the job; None = the one that ran last. Raises LedgerError, StoreError.
    """
    location = Location.parse(sink)
    store, layout = open_store(location, config), layout_below(location.prefix)
    return failures_at(store, layout, str(location), location.root, reason, limit, fingerprint)


def failures_at(
    store: Store,
    layout: Layout,
    sink: str,
    root: str,
    reason: Reason | None = None,
    limit: int = 3,
    fingerprint: str | None = None,
) -> FailureReport:
    """`failures` on a store that is there already. root: the sink as a folder, for the name of the log."""
    log = root + layout.failures.removeprefix(layout.root.removesuffix("_mattemill"))
    chosen = fingerprint or _last_job(store, layout)
    if chosen is None:
        return FailureReport(sink, None, 0, (), log)
    committed = Committed()
    files_of: dict[str, list[str]] = {}

    def take(file: OutcomeFile) -> None:
        committed.add(file.table)
        for key, why in zip(file.table.column("key").to_pylist(), file.table.column("reason").to_pylist(), strict=True):
            if why is not None:
                files_of.setdefault(key_of(key), []).append(file.name)

    read_inventory(store, layout, chosen, take, RESUME_SCHEMA)
    keys_by_reason: dict[str, list[str]] = {}
    for key in sorted(files_of):
        row = committed[key]
        if row.reason is not None and (reason is None or row.reason == reason):
            keys_by_reason.setdefault(row.reason, []).append(key)
    shown = {key for keys in keys_by_reason.values() for key in keys[:limit]}
    examples = _examples(store, {key: committed[key] for key in shown}, files_of)
    groups = [
        FailureGroup(why, _sentence(why), len(keys), tuple(examples[key] for key in keys[:limit] if key in examples))
        for why, keys in keys_by_reason.items()
    ]
    groups.sort(key=lambda group: (-group.count, group.reason))
    return FailureReport(sink, chosen, len(committed), tuple(groups), log)


def _last_job(store: Store, layout: Layout) -> str | None:
    known = fingerprints(store, layout)
    records = {fingerprint: read_job(store, layout, fingerprint) for fingerprint in known}
    return max(known, key=lambda name: (r.last_run if (r := records[name]) else "", name), default=None)


def _job_status(store: Store, layout: Layout, fingerprint: str, running: Running | None) -> JobStatus:
    committed, inventory = read_committed(store, layout, fingerprint)
    failed: Counter[str] = Counter()
    first: datetime | None = None
    last: datetime | None = None
    for row in committed.values():
        if row.reason is not None:
            failed[row.reason] += 1
        first = row.finished_at if first is None else min(first, row.finished_at)
        last = row.finished_at if last is None else max(last, row.finished_at)
    record = read_job(store, layout, fingerprint)
    listing = record.listing if record else None
    return JobStatus(
        fingerprint=fingerprint,
        done=len(committed),
        mattes=len(committed) - failed.total(),
        failed=dict(failed.most_common()),
        open=None if listing is None else max(0, listing.listed - (len(committed) - listing.unlisted)),
        first_commit=first,
        last_commit=last,
        shard_files=len(inventory.shards),
        packed_files=len(inventory.packed),
        bytes=sum(inventory.sizes.values()),
        running=running,
        record=record,
    )


def _running(store: Store, layout: Layout, lives: Lives) -> dict[str, Running]:
    """By fingerprint: the one job that holds the sink's run lease, if one does."""
    held = read_lease(store, layout)
    if held is None or held.released:
        return {}
    try:
        modified = store.head(layout.lease(held.number)).modified
    except MissingObjectError:
        return {}  # Taken over between the two calls.
    return {held.fingerprint: Running(held.holder, lives(held.holder), modified)}


def _examples(
    store: Store, rows: Mapping[str, NewestRow], files_of: Mapping[str, list[str]]
) -> dict[str, FailureExample]:
    wanted = pa.array(sorted(map(stored_key, rows)), type=pa.string())
    names = sorted({name for key in rows for name in files_of[key]})
    parts = [
        file.table.filter(pc.is_in(file.table.column("key"), value_set=wanted)) for file in _readable(store, names)
    ]
    if not parts:
        return {}
    return {key_of(row["key"]): _example(row) for row in newest_rows(parts).to_pylist() if row["reason"] is not None}


def _readable(store: Store, names: list[str]) -> Iterator[OutcomeFile]:
    for name in names:
        try:
            yield from read_files(store, [name], PACKED_SCHEMA, threads=1)
        except MissingObjectError:
            continue  # A running job has just packed it away: an example less.


def _example(row: Mapping[str, Any]) -> FailureExample:
    return FailureExample(
        key=key_of(row["key"]),
        etag=row["etag"],
        stage=row["stage"] or "",
        message=row["message"] or "",
        width=row["width"],
        height=row["height"],
        generation=row["generation"],
        finished_at=row["finished_at"],
        attempts=dict(row["attempts"] or ()),
        scores=dict(row["scores"] or ()),
    )


def _sentence(reason: str) -> str:
    try:
        return SENTENCES[Reason(reason)]
    except ValueError:
        return "A reason of another version of mattemill."
