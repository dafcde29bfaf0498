"""Packing: a job's shards' files become a few large ones, in pieces while it runs and all of them when it ends.

Only rows that can never count again are dropped: of the rows of a key within one packed file, the newest stays. Which
row of a key is the newest is a total order, so the newest of a part is the only one of it that can be the newest of
all. What a dropped failure said stays in the failure log, which is verified whole first.

A packed file names the shards that it contains, and readers skip those shards' own files. So a kill before the PUT
changes nothing, and a kill after it leaves files that are skipped, and deleted by the next run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pyarrow as pa

from mattemill.pipeline.errors import AlreadyThereError, LedgerError
from mattemill.pipeline.ledger.committed import packed_rows
from mattemill.pipeline.ledger.layout import Layout
from mattemill.pipeline.ledger.outcome_file import (
    CONTENT_TYPE,
    OutcomeFile,
    code_version,
    decode,
    encode,
    joined_shards,
)
from mattemill.pipeline.ledger.reading import Inventory, read_files
from mattemill.pipeline.ledger.schema import PACKED_SCHEMA, FileFacts
from mattemill.pipeline.storage.store import Store

log = logging.getLogger(__name__)

LARGEST = 64 * 2**20
"""Bytes of columns, as their inputs held them, that go into one packed file."""

SMALL = 32 * 2**20
"""Packed files below this size are packed again with what comes next."""

MOST_ROWS = 400_000
"""Rows in one packed file: they take about 700 bytes each in memory, twice while the file is made, so 600 MB."""

DELETE_THREADS = 16
"""Concurrent deletions: a job of ten million images leaves 40,000 files to delete."""

ROW_GROUP = 100_000
"""Rows: a reader of a few keys or columns skips the other groups."""


def pack_files(
    store: Store,
    layout: Layout,
    fingerprint: str,
    inventory: Inventory,
    now: Callable[[], datetime],
    before_write: Callable[[], None],
    *,
    largest: int = LARGEST,
    small: int = SMALL,
    packed: Callable[[FileFacts], None] = lambda facts: None,
) -> None:
    """Join the shards' files and the small packed ones; delete what is contained in packed files.

    The failure log of all shards in the inventory must be whole. The inventory is brought up to date.
    before_write: called before each PUT and each delete; raises when this run may not write any more.
    packed: called when a packed file is written, before what it contains is deleted.
    """
    _delete(store, inventory, list(inventory.leftovers), before_write)
    inventory.leftovers.clear()
    keys = [key for key in sorted(inventory.packed) if _is_small(inventory, key, small)]
    keys += [layout.shard_file(fingerprint, shard) for shard in sorted(inventory.shards)]
    for group in _groups(read_files(store, keys, PACKED_SCHEMA), largest):
        if len(group) < 2:
            continue
        facts = FileFacts(
            kind="packed",
            fingerprint=fingerprint,
            source=group[0].facts.source,
            generation=max(file.facts.generation for file in group),
            shards=joined_shards(file.facts for file in group),
            committed_at=now().isoformat(),
            code=code_version(),
        )
        digest = hashlib.sha256("\0".join(facts.shards).encode()).hexdigest()
        key = layout.packed_file(fingerprint, inventory.next_number, digest)
        table = newest_rows([file.table for file in group])
        data = encode(table, facts, ROW_GROUP)
        before_write()
        _write_packed(store, key, data, facts)
        packed(facts)
        inventory.packed[key] = facts
        inventory.sizes[key] = len(data)
        inventory.rows[key] = table.num_rows
        inventory.next_number += 1
        log.info("packed key=%s files=%d rows=%d bytes=%d", key, len(group), table.num_rows, len(data))
        _delete(store, inventory, [file.name for file in group], before_write)
        for file in group:
            inventory.packed.pop(file.name, None)
            for shard in file.facts.shards:
                inventory.shards.pop(shard, None)


def _write_packed(store: Store, key: str, data: bytes, facts: FileFacts) -> None:
    """PUT a packed file and look at it before anything that it replaces is deleted."""
    try:
        store.put(key, data, content_type=CONTENT_TYPE, if_absent=True)
        whole = store.head(key).size == len(data)
    except AlreadyThereError:
        # The answer to the first try of this PUT was lost, or another run has made the same file.
        whole = decode(store.get(key).data, key, PACKED_SCHEMA).facts.shards == facts.shards
    if not whole:
        raise LedgerError(f"{key}: is not what was written to it; the files it was made of are kept, delete it")


def newest_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """The newest row of each key, sorted by key. Equal rows of different shards: the last shard's id decides."""
    table = pa.concat_tables(tables)
    newest: dict[str, tuple[bytes, str, int]] = {}
    keys, shards = table.column("key").to_pylist(), table.column("shard").to_pylist()
    for index, (key, shard, packed) in enumerate(zip(keys, shards, packed_rows(table), strict=True)):
        mine = (packed, shard, index)
        if key not in newest or mine > newest[key]:
            newest[key] = mine
    return table.take(pa.array([newest[key][2] for key in sorted(newest)], type=pa.int64())).combine_chunks()


def _is_small(inventory: Inventory, key: str, small: int) -> bool:
    return inventory.sizes[key] < small and inventory.rows[key] < MOST_ROWS // 2


def _groups(files: Iterator[OutcomeFile], largest: int) -> Iterator[list[OutcomeFile]]:
    group: list[OutcomeFile] = []
    size = rows = 0
    for file in files:
        full = size + file.packed_bytes > largest or rows + file.table.num_rows > MOST_ROWS
        if group and full:
            yield group
            group, size, rows = [], 0, 0
        group.append(file)
        size += file.packed_bytes
        rows += file.table.num_rows
    if group:
        yield group


def _delete(store: Store, inventory: Inventory, keys: Sequence[str], before_write: Callable[[], None]) -> None:
    if not keys:
        return
    before_write()
    with ThreadPoolExecutor(DELETE_THREADS, thread_name_prefix="ledger-delete") as pool:
        for key, _ in zip(keys, pool.map(store.delete, keys), strict=True):
            inventory.sizes.pop(key, None)
