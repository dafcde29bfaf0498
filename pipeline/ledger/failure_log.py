"""The failure log: a projection of the committed shard files, one small Parquet file per date, reason and shard.

The names and the rows follow from the shard's file alone. Writing them twice is harmless, and what a killed driver
did not write is written from the shard's file by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pyarrow as pa

from mattemill.pipeline.ledger.layout import Layout
from mattemill.pipeline.ledger.outcome_file import CONTENT_TYPE, OutcomeFile, decode, encode
from mattemill.pipeline.ledger.schema import LOG_SCHEMA, FileFacts
from mattemill.pipeline.storage.store import Store

Partitions = tuple[tuple[str, str], ...]
"""((date, reason), ...): the files that one shard has in the log."""


def project(table: pa.Table, facts: FileFacts, layout: Layout) -> dict[str, bytes]:
    """The failure-log files of one shard: name -> bytes. table: all columns of OUTCOME_SCHEMA."""
    rows_of: dict[str, list[int]] = {}
    for row, reason in enumerate(table.column("reason").to_pylist()):
        if reason is not None:
            rows_of.setdefault(reason, []).append(row)
    log_facts = replace(facts, kind="failures")
    files: dict[str, bytes] = {}
    for reason, numbers in sorted(rows_of.items()):
        rows = table.take(pa.array(numbers, type=pa.int64()))
        fingerprint = pa.array([facts.fingerprint] * rows.num_rows, type=pa.string())
        columns = [fingerprint if f.name == "fingerprint" else rows.column(f.name) for f in LOG_SCHEMA]
        name = layout.failure_file(facts.date, reason, facts.fingerprint, facts.shards[0])
        files[name] = encode(pa.Table.from_arrays(columns, schema=LOG_SCHEMA), log_facts)
    return files


def write_log(store: Store, layout: Layout, file: OutcomeFile) -> int:
    """Write the failure-log files of one shard. Returns how many."""
    files = project(file.table, file.facts, layout)
    for name, data in files.items():
        store.put(name, data, content_type=CONTENT_TYPE)
    return len(files)


def repair_log(
    store: Store,
    layout: Layout,
    fingerprint: str,
    shards: Mapping[str, Partitions],
    before_write: Callable[[], None] = lambda: None,
) -> int:
    """Write what the log lacks of these shards. Returns how many files that were. Raises StoreError."""
    expected = {
        layout.failure_file(date, reason, fingerprint, shard): shard
        for shard, partitions in shards.items()
        for date, reason in partitions
    }
    present = _present(store, layout, {date for partitions in shards.values() for date, _ in partitions})
    written = 0
    for shard in sorted({expected[name] for name in expected.keys() - present}):
        before_write()
        key = layout.shard_file(fingerprint, shard)
        written += write_log(store, layout, decode(store.get(key).data, key))
    return written


def _present(store: Store, layout: Layout, dates: Iterable[str]) -> set[str]:
    return {entry.key for date in sorted(dates) for entry in store.list(layout.failures_of(date))}
