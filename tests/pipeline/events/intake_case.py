"""An intake around a simulated queue, a ledger in memory that decides as the real one does, and a store of ETags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from simulated_queue import SimulatedQueue

from mattemill.pipeline.errors import MissingObjectError, StoreError
from mattemill.pipeline.events.intake import Intake
from mattemill.pipeline.events.judge import Judge
from mattemill.pipeline.events.references import EventSource
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.ledger.committed import NewestRow
from mattemill.pipeline.ledger.resume import ResumeCounts, due
from mattemill.pipeline.outcome import Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard, make_shard
from mattemill.pipeline.storage.location import Location
from mattemill.pipeline.storage.store import Entry

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryLedger:
    """rows: all that were ever committed, as (key, etag, reason, generation). Outlives the intake, as a sink does."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str | None, str | None, int]] = []
        self.newest: dict[str, NewestRow] = {}

    def committed(self) -> Mapping[str, NewestRow]:
        return self.newest

    def generation_due(self, ref: ImageRef) -> int | None:
        return next((generation for _, generation in due((ref,), self.newest, None, ResumeCounts())), None)

    def add(self, ref: ImageRef, generation: int, reason: str | None) -> None:
        self.rows.append((ref.key, ref.etag, reason, generation))
        before = self.newest.get(ref.key)
        assert before is None or before.generation < generation, "a row under another one"
        self.newest[ref.key] = NewestRow(generation, _EPOCH + timedelta(seconds=len(self.rows)), reason, ref.etag)


@dataclass
class Case:
    """objects: key -> the ETag that lies there now. heads: how often one was looked up.

    refusal: what the store says instead of an answer, when it does; head_seconds: how long it takes.
    """

    settings: EventSettings = field(default_factory=EventSettings)
    shard_size: int = 4
    source: Location | None = None
    queue: SimulatedQueue = field(default_factory=SimulatedQueue)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    objects: dict[str, str] = field(default_factory=dict)
    heads: int = 0
    refusal: StoreError | None = None
    head_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.intake = self.new_intake()

    def new_intake(self) -> Intake:
        """As after a start."""
        return Intake(
            self.queue,
            self.queue.facts(),
            EventSource(self.source, Location.parse("s3://mattes/out")),
            Judge(self.ledger, self._head),
            self._fail,
            self.settings,
            self.shard_size,
            clock=lambda: self.queue.now,
            wall=lambda: self.queue.now,
        )

    def steps(self, n: int = 1, *, wants: bool = True, seconds: float = 0.0) -> None:
        for _ in range(n):
            self.queue.now += seconds
            self.intake.step(wants)

    def take(self) -> Shard:
        shard = self.intake.ready.popleft()
        self.intake.offered += len(shard.refs)
        return shard

    def commit(self, shard: Shard) -> None:
        """As a cell and a committer would: what was replaced since it was taken is a failure."""
        for ref in shard.refs:
            there = self.objects.get(ref.uri.removeprefix("s3://shop/"), ref.etag)
            self.ledger.add(ref, shard.generation, None if there == ref.etag else "changed_while_reading")
        self.intake.committed(ref.key for ref in shard.refs)

    def _head(self, ref: ImageRef) -> Entry:
        self.heads += 1
        self.queue.now += self.head_seconds
        if self.refusal is not None:
            raise self.refusal
        key = ref.uri.removeprefix("s3://shop/")
        if key not in self.objects:
            raise MissingObjectError(f"{ref.uri}: 404")
        return Entry(key, 1000, self.objects[key], _EPOCH)

    def _fail(self, ref: ImageRef, generation: int, failure: Failure) -> None:
        make_shard([ref], generation)
        self.ledger.add(ref, generation, failure.reason.value)


def keys_of(shard: Shard) -> list[str]:
    return [ref.key for ref in shard.refs]


def settings(**changes: Any) -> EventSettings:
    return EventSettings(**changes)
