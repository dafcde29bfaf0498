"""The ledger of one job in one sink: what is done, what is due, and the commit that makes it so.

    with Ledger.open(sink, config, fingerprint, source.root, model_hashes=hashes) as ledger:
        for shard in cut_into_shards(ledger.due(source.list()), config.shard_size):
            ...
            ledger.commit(shard, outcomes)
        ledger.finish_job()

A shard's outcome file is the truth. All else (the failure log, the packed files) follows from it and is made whole
again by the next run when a driver was killed in between.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Self

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import AlreadyThereError, LedgerError, MissingObjectError, StoreError
from mattemill.pipeline.ledger.binding import Listing, bind, check_binding, job_record, read_job, write_job
from mattemill.pipeline.ledger.committed import NewestRow, changed
from mattemill.pipeline.ledger.failure_log import repair_log, write_log
from mattemill.pipeline.ledger.holder import Holder, process_lives, this_process
from mattemill.pipeline.ledger.layout import Layout, layout_below
from mattemill.pipeline.ledger.lease import Lives, RunLease, acquire_lease
from mattemill.pipeline.ledger.others import LaidMatte, read_others
from mattemill.pipeline.ledger.outcome_file import CONTENT_TYPE, OutcomeFile, code_version, decode, encode, shard_table
from mattemill.pipeline.ledger.packing import LARGEST, SMALL, pack_files
from mattemill.pipeline.ledger.reading import Inventory, log_partitions, read_committed
from mattemill.pipeline.ledger.resume import Head, ResumeCounts, RetrySelection, due
from mattemill.pipeline.ledger.schema import FileFacts
from mattemill.pipeline.outcome import Failure, Outcome
from mattemill.pipeline.output_key import output_key
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard
from mattemill.pipeline.storage.location import Location, open_store
from mattemill.pipeline.storage.store import Store

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]

_PIECE_ROWS = 100_000
"""Rows that are packed at once while a job runs: about 150 MB of memory and three seconds of one core."""

_PIECE_SHARDS = (50, 1000)
"""Shards that are packed at once while a job runs: at least, at most."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """Made by `Ledger.open` or `Ledger.at`. `commit` may be called from several threads."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        fingerprint: str,
        source_root: str,
        lease: RunLease | None,
        now: Clock,
        config: JobConfig,
    ) -> None:
        self._store = store
        self._layout = layout
        self._format = config.format
        self._fingerprint = fingerprint
        self._source_root = source_root
        self._lease = lease
        self._now = now
        self._lock = threading.Lock()
        self._packing = threading.Lock()
        self._unpacked: list[str] = []  # shards of the piece whose packing failed
        self._unlogged: set[str] = set()  # committed shards whose failures are not in the failure log yet
        self._piece = min(max(_PIECE_ROWS // config.shard_size, _PIECE_SHARDS[0]), _PIECE_SHARDS[1])
        self._committed, self._inventory = read_committed(store, layout, fingerprint)
        self._contained = self._inventory.contained()
        self._others = read_others(store, layout, fingerprint, config, self._committed)
        self._follows = False
        self.counts = ResumeCounts()

    @classmethod
    def open(
        cls,
        sink: str,
        config: JobConfig,
        fingerprint: str,
        source_root: str,
        *,
        model_hashes: Mapping[str, str] | None = None,
        read_only: bool = False,
    ) -> Self:
        """Open the ledger of a job: bind the sink, take the run lease, read what is committed, repair the log.

        read_only: for a dry run; takes no lease and writes nothing, and cannot commit.
        Raises SinkError (the sink belongs to another source), JobRunningError (another driver writes to it),
        LedgerError (files that cannot be read, also of jobs of other settings in this sink) and StoreError.
        """
        location = Location.parse(sink)
        return cls.at(
            open_store(location, config),
            layout_below(location.prefix),
            config,
            fingerprint,
            source_root,
            model_hashes=model_hashes,
            read_only=read_only,
        )

    @classmethod
    def at(
        cls,
        store: Store,
        layout: Layout,
        config: JobConfig,
        fingerprint: str,
        source_root: str,
        *,
        model_hashes: Mapping[str, str] | None = None,
        read_only: bool = False,
        now: Clock = utc_now,
        holder: Holder | None = None,
        lives: Lives = process_lives,
    ) -> Self:
        """`open` on a store that is there already, with the clock and the holder of the lease given."""
        if read_only:
            check_binding(store, layout, source_root)
            return cls(store, layout, fingerprint, source_root, None, now, config)
        started = now().isoformat(timespec="seconds")
        bind(store, layout, source_root, started)
        lease = acquire_lease(
            store, layout, fingerprint, holder or this_process(uuid.uuid4().hex, started), lives=lives
        )
        try:
            if holder is None:
                lease.start_beating()
            known = read_job(store, layout, fingerprint)
            record = job_record(config, fingerprint, model_hashes or {}, started)
            write_job(store, layout, replace(record, listing=known.listing if known else None))
            ledger = cls(store, layout, fingerprint, source_root, lease, now, config)
            ledger._repair_log()
        except BaseException:
            lease.release()
            raise
        return ledger

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def lease_number(self) -> int | None:
        """Of the run lease, None when it is read only."""
        return self._lease.number if self._lease is not None else None

    @property
    def lease_age(self) -> float | None:
        """Seconds since the run lease's last heartbeat, None when there is no lease."""
        return self._lease.age if self._lease is not None else None

    @property
    def loose_files(self) -> int:
        """Shards' files that are not packed yet."""
        return len(self._inventory.shards)

    def committed(self) -> Mapping[str, NewestRow]:
        """key -> its newest row, as it was when the ledger was opened; with `follow`, as it is now."""
        return self._committed

    def follow(self) -> None:
        """From now on keep the rows that this run commits in mind too: for endless input, where a key comes again.

        About 190 bytes a key that is committed, which a job that lists each key once need not spend.
        """
        self._follows = True

    def generation_due(self, ref: ImageRef) -> int | None:
        """As `due` decides of one reference without a listing: the generation of its row to be, None when one stands.

        Counted in `counts`. ref: with its ETag where it is known; nothing is looked up.
        """
        rows = due((ref,), self._committed, None, self.counts, None, self._others.overwrote)
        return next((generation for _, generation in rows), None)

    def due(
        self, refs: Iterable[ImageRef], retry: RetrySelection | None = None, *, head: Head | None = None
    ) -> Iterator[tuple[ImageRef, int]]:
        """Stream (reference, generation) of what has to be done; `counts` says what became of the rest.

        retry: only these failures. head: looks up the ETag of committed keys whose source lists none. When the
        listing was drawn to its end, its size is kept for `mattemill status`.
        """
        self.counts = counts = ResumeCounts()
        yield from due(refs, self._committed, retry, counts, head, self._others.overwrote)
        if self._lease is not None and retry is None:
            self._keep_listing(counts)

    def commit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> bool:
        """Write the outcomes of a shard: one PUT, then they stand; and its failures into the failure log.

        outcomes: by key, exactly those of the shard's images, else LedgerError names the difference.
        Returns True when this call wrote them, False when they were there already (then those stand).
        Raises JobRunningError when another run has taken over, StoreError when the PUT fails: nothing is committed.
        """
        lease = self._writable()
        now = self._now()
        table = shard_table(shard, outcomes, now)
        lease.check()
        if shard.id in self._contained:
            return False
        self._remove_stale(shard, outcomes, lease)
        facts = FileFacts(
            kind="shard",
            fingerprint=self._fingerprint,
            source=self._source_root,
            generation=shard.generation,
            shards=(shard.id,),
            committed_at=now.astimezone(UTC).isoformat(),
            code=code_version(),
        )
        key = self._layout.shard_file(self._fingerprint, shard.id)
        data = encode(table, facts)
        size, wrote = len(data), True
        try:
            self._store.put(key, data, content_type=CONTENT_TYPE, if_absent=True)
            file = OutcomeFile(key, facts, table, len(data))
        except AlreadyThereError:
            # An earlier run's; or ours, when the answer to the first try of this PUT was lost. What lies there counts.
            try:
                there = self._store.get(key).data
            except MissingObjectError:
                if shard.id in self._contained:  # packed since
                    return False
                raise
            size, wrote = len(there), there == data
            file = decode(there, key)
        with self._lock:
            if shard.id in self._contained:  # packed since; the file is left over, readers pass over it
                return False
            self._unlogged.add(shard.id)
            self._inventory.shards[shard.id] = log_partitions(file)
            self._inventory.sizes[key] = size
            if self._follows:
                self._committed.add(file.table)
                self._others.replaced(file.table.column("key").to_pylist())
        try:
            write_log(self._store, self._layout, file)
        except StoreError as error:
            log.warning("failure log behind shard=%s error=%s next=finish_job_repairs_it", shard.id, error)
        else:
            with self._lock:
                self._unlogged.discard(shard.id)
        return wrote

    def pack_due(self) -> bool:
        """Whether there are enough shards' files for `pack_some` to make one of them."""
        return len(self._inventory.shards) - len(self._unlogged) >= self._piece

    def pack_some(self) -> None:
        """Make one packed file of the shards that were committed first, beside commits that go on.

        A driver that is killed then leaves few small files for the next run to read. Those whose failures are not in
        the failure log yet stay until `finish_job`. Raises what `finish_job` does, and all that is committed stands.
        """
        lease = self._writable()
        with self._packing:
            if not self._unpacked:
                with self._lock:
                    logged = (shard for shard in self._inventory.shards if shard not in self._unlogged)
                    self._unpacked = list(islice(logged, self._piece))
            self._pack_piece(lease)

    def _pack_piece(self, lease: RunLease) -> None:
        """Pack `_unpacked`. A piece that failed is tried again as it is, before any other: its file may be there by
        now, and another with some of the same shards would double their rows.
        """
        with self._lock:
            shards = self._inventory.shards
            piece = Inventory(
                shards={shard: shards[shard] for shard in self._unpacked if shard in shards},
                next_number=self._inventory.next_number,
            )
        whole = False
        try:
            pack_files(
                self._store,
                self._layout,
                self._fingerprint,
                piece,
                self._now,
                lease.check,
                packed=lambda facts: self._packed(facts, piece),
            )
            whole = True
        finally:
            with self._lock:
                self._inventory.packed |= piece.packed
                self._inventory.sizes |= piece.sizes
                self._inventory.rows |= piece.rows
                if whole:
                    self._unpacked = []
                else:  # what is packed may not be deleted
                    contained = (shard for facts in piece.packed.values() for shard in facts.shards)
                    self._inventory.leftovers += [self._layout.shard_file(self._fingerprint, s) for s in contained]

    def _packed(self, facts: FileFacts, piece: Inventory) -> None:
        with self._lock:
            self._contained.update(facts.shards)
            self._inventory.next_number = piece.next_number + 1
            for shard in facts.shards:
                self._inventory.shards.pop(shard, None)
                self._inventory.sizes.pop(self._layout.shard_file(self._fingerprint, shard), None)

    def finish_job(self, *, largest: int = LARGEST, small: int = SMALL) -> None:
        """Make the failure log whole and pack the shards' files. Call it when nothing is in flight any more.

        largest, small: bytes, see packing.py. Raises JobRunningError, StoreError, LedgerError; everything
        committed stands whatever is raised, and the next run goes on where this one stopped.
        """
        lease = self._writable()
        lease.check()
        with self._packing:
            if self._unpacked:
                self._pack_piece(lease)
            with self._lock:
                self._repair_log()
                self._unlogged.clear()
                pack_files(
                    self._store,
                    self._layout,
                    self._fingerprint,
                    self._inventory,
                    self._now,
                    lease.check,
                    largest=largest,
                    small=small,
                )
                self._contained = self._inventory.contained()

    def check(self) -> None:
        """Raises JobRunningError when another run has taken over."""
        self._writable().check()

    def close(self) -> None:
        """Give the run lease back. Does nothing the second time."""
        if self._lease is not None:
            self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError as failed:
            # The lease then ends by itself; the error that got us here matters more.
            log.warning("lease not given back fingerprint=%s error=%s", self._fingerprint, failed)

    def _remove_stale(self, shard: Shard, outcomes: Mapping[str, Outcome], lease: RunLease) -> None:
        """Delete the mattes under the keys of failures that no longer belong there, see `_stale`.

        Before the commit: a run that is killed in between does these images again. A matte that cannot be deleted
        stays, with a warning, and the failure is committed all the same. The lease is looked at before each deletion
        and again after the last one. Between a look and its deletion there remains a gap: a driver that is paused
        just there and taken over can still delete one matte that its successor has written.
        """
        stale = [ref.key for ref in shard.refs if self._stale(ref, outcomes[ref.key])]
        for key in (self._layout.output(output_key(key, self._format)) for key in stale):
            lease.check()
            try:
                self._store.delete(key)
                log.info("stale matte deleted key=%s why=its_photograph_or_kind_changed_and_failed", key)
            except StoreError as error:
                log.warning("stale matte not deleted key=%s error=%s next=delete_it_by_hand", key, error)
        if stale:
            lease.check()

    def _stale(self, ref: ImageRef, outcome: Outcome) -> bool:
        """Whether the newest matte that lies under a key has to go, now that the photograph ended as a failure.

        It has to when it shows another photograph (both ETags known, and different), or when it is another kind of
        picture (`output`, `background` or `subjects` of the job that made it). The matte of the same photograph and
        kind stays, also that of an earlier model or version, until a newer one replaces it: a passing failure must
        not take a picture out of a catalogue.
        """
        if not isinstance(outcome, Failure):
            return False
        etag = ref.etag if ref.etag is not None else outcome.facts.etag
        own, other = self._committed.get(ref.key), self._others.matte(ref.key)
        mine = None if own is None or own.failed else LaidMatte(own.finished_at, own.etag, same_kind=True)
        newest = max((m for m in (mine, other) if m is not None), key=lambda m: m.finished_at, default=None)
        return newest is not None and (not newest.same_kind or changed(etag, newest.etag))

    def _writable(self) -> RunLease:
        if self._lease is None:
            raise LedgerError(f"the ledger of {self._fingerprint} was opened read-only; open it without read_only")
        return self._lease

    def _repair_log(self) -> None:
        lease = self._writable()
        written = repair_log(self._store, self._layout, self._fingerprint, self._inventory.shards, lease.check)
        if written:
            log.info("failure log repaired fingerprint=%s files=%d", self._fingerprint, written)

    def _keep_listing(self, counts: ResumeCounts) -> None:
        record = read_job(self._store, self._layout, self._fingerprint)
        if record is None:
            return
        known = counts.already_done + counts.changed + counts.overwritten
        listing = Listing(
            counts.listed, max(0, len(self._committed) - known), self._now().isoformat(timespec="seconds")
        )
        write_job(self._store, self._layout, replace(record, listing=listing))
