"""Reading a fingerprint's outcome files: which of them count, and all of their rows."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from mattemill.pipeline.errors import LedgerError, MissingObjectError
from mattemill.pipeline.ledger.committed import RESUME_SCHEMA, Committed
from mattemill.pipeline.ledger.layout import Layout, packed_number, shard_id_of
from mattemill.pipeline.ledger.outcome_file import OutcomeFile, decode
from mattemill.pipeline.ledger.schema import FileFacts
from mattemill.pipeline.storage.store import Store

log = logging.getLogger(__name__)

THREADS = 16
"""Concurrent reads of shard files (about 20 kB each): hides the latency of an object store."""

_DECODERS = min(4, os.cpu_count() or 1)
"""Files decoded at once: that is work for the processor, and more threads only fight over Python's lock."""

PACKED_THREADS = 2
"""Concurrent reads of packed files (up to 64 MB each): bounds the memory."""

_RELISTS = 5


@dataclass(slots=True)
class Inventory:
    """The outcome files of a fingerprint.

    shards: those that count, by shard id, with the failure-log files that they imply ((date, reason), ...).
    packed: those that count, by key, with their facts. sizes: bytes by key, of all that count. rows: of packed files.
    leftovers: keys whose rows are in a packed file already: packing was killed before it could delete them.
    next_number: the number of the next packed file.
    """

    shards: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    packed: dict[str, FileFacts] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    next_number: int = 0

    def contained(self) -> set[str]:
        """Ids of the shards whose rows are in packed files."""
        return {shard for facts in self.packed.values() for shard in facts.shards}


def read_files(store: Store, keys: Iterable[str], schema: pa.Schema, threads: int = THREADS) -> Iterator[OutcomeFile]:
    """The files in the order of their keys, a bounded number of them in memory. Raises StoreError, LedgerError."""
    decoding = threading.Semaphore(_DECODERS)

    def read(key: str) -> OutcomeFile:
        data = store.get(key).data
        with decoding:
            return decode(data, key, schema)

    stream = iter(keys)
    with ThreadPoolExecutor(threads, thread_name_prefix="ledger-read") as pool:
        waiting: deque[Future[OutcomeFile]] = deque(pool.submit(read, key) for key in islice(stream, 2 * threads))
        try:
            while waiting:
                file = waiting.popleft().result()
                for key in islice(stream, 1):
                    waiting.append(pool.submit(read, key))
                yield file
        finally:
            for future in waiting:
                future.cancel()


def read_inventory(
    store: Store, layout: Layout, fingerprint: str, take: Callable[[OutcomeFile], None], schema: pa.Schema
) -> Inventory:
    """Hand every file that counts to `take`, with the columns of `schema`, and say which files there are.

    A file that a running job packs away while it is read makes the reading start again: `take` must not mind
    seeing a row twice.
    """
    for _ in range(_RELISTS):
        try:
            found = _read_inventory(store, layout, fingerprint, take, schema)
            if _newest_packed(store, layout, fingerprint) < found.next_number:
                return found
            log.info("outcome files packed while they were read, reading again fingerprint=%s", fingerprint)
        except MissingObjectError as error:
            log.info("outcome files changed while they were read, reading again: %s", error)
    raise LedgerError(
        f"{layout.outcomes(fingerprint)}: its files vanish while they are read; try again when no job runs"
    )


def _newest_packed(store: Store, layout: Layout, fingerprint: str) -> int:
    """The highest number of a packed file, -1 when there is none.

    A folder's listing can miss both a file that is deleted while it runs and its successor; the successor was there
    before the deletion, so whoever looks for it afterwards finds it.
    """
    prefix = layout.outcomes(fingerprint)
    numbers = (packed_number(entry.key) for entry in store.list(prefix, start_after=prefix + "packed-"))
    return max((number for number in numbers if number is not None), default=-1)


def read_committed(store: Store, layout: Layout, fingerprint: str) -> tuple[Committed, Inventory]:
    """The newest row of every key of a fingerprint, and the files."""
    committed = Committed()
    inventory = read_inventory(store, layout, fingerprint, lambda file: committed.add(file.table), RESUME_SCHEMA)
    return committed, inventory


def log_partitions(file: OutcomeFile) -> tuple[tuple[str, str], ...]:
    """The (date, reason) of the failure-log files that a shard's file implies."""
    reasons = sorted({reason for reason in file.table.column("reason").to_pylist() if reason is not None})
    return tuple((file.facts.date, reason) for reason in reasons)


def _read_inventory(
    store: Store, layout: Layout, fingerprint: str, take: Callable[[OutcomeFile], None], schema: pa.Schema
) -> Inventory:
    found = Inventory()
    shard_keys: list[str] = []
    packed_keys: list[tuple[int, str]] = []
    for entry in store.list(layout.outcomes(fingerprint)):
        found.sizes[entry.key] = entry.size
        number = packed_number(entry.key)
        if number is not None:
            packed_keys.append((number, entry.key))
        elif shard_id_of(entry.key) is not None:
            shard_keys.append(entry.key)
        else:
            log.warning("file ignored key=%s why=not_an_outcome_file", entry.key)
    found.next_number = max((number for number, _ in packed_keys), default=-1) + 1

    contained: set[str] = set()
    newest_first = [key for _, key in sorted(packed_keys, reverse=True)]
    for file in read_files(store, newest_first, schema, PACKED_THREADS):
        _check_fingerprint(file, fingerprint)
        # Packing takes whole files in, so an older packed file is contained wholly or not at all.
        if contained.issuperset(file.facts.shards):
            found.leftovers.append(file.name)
            continue
        contained.update(file.facts.shards)
        found.packed[file.name] = file.facts
        found.rows[file.name] = file.table.num_rows
        take(file)

    live: list[str] = []
    for key in shard_keys:
        (found.leftovers if shard_id_of(key) in contained else live).append(key)
    for file in read_files(store, live, schema):
        _check_fingerprint(file, fingerprint)
        if file.facts.shards != (shard_id_of(file.name),):
            raise LedgerError(f"{file.name}: holds shard {file.facts.shards}, its name says another; restore its name")
        found.shards[file.facts.shards[0]] = log_partitions(file)
        take(file)
    for key in found.leftovers:
        found.sizes.pop(key, None)
    return found


def _check_fingerprint(file: OutcomeFile, fingerprint: str) -> None:
    if file.facts.fingerprint != fingerprint:
        raise LedgerError(
            f"{file.name}: holds outcomes of {file.facts.fingerprint}, not of {fingerprint}; move it to its own folder"
        )
