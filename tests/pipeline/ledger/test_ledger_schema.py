"""The columns, their documentation, and files of other versions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_case import FINGERPRINT, LAYOUT, Clock, every_third_fails, newest, run_job, some_refs
from memory_store import MemoryStore

from mattemill.pipeline.errors import LedgerError
from mattemill.pipeline.ledger import schema
from mattemill.pipeline.ledger.outcome_file import decode
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.ledger.schema import (
    HISTORY,
    LOG_COLUMNS,
    LOG_SCHEMA,
    METADATA_KEY,
    OUTCOME_SCHEMA,
    PACKED_SCHEMA,
    SCHEMA_VERSION,
    conform,
)
from mattemill.pipeline.reasons import Reason

DATA = Path(__file__).parent / "data"
"""Files as version 1 wrote them (4 images, the first and the last failed): never write them anew."""


def with_metadata(data: bytes, change: dict[str, object] | None) -> bytes:
    """The file with its metadata changed, or without any."""
    table = pq.read_table(pa.BufferReader(data))
    metadata = dict(table.schema.metadata)
    if change is None:
        del metadata[METADATA_KEY]
    else:
        metadata[METADATA_KEY] = json.dumps({**json.loads(metadata[METADATA_KEY]), **change}).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return bytes(sink.getvalue())


def test_every_column_is_documented_and_every_documented_column_is_there() -> None:
    documented = re.findall(r"^\| ([a-z_, ]+) \|", schema.__doc__ or "", flags=re.MULTILINE)
    names = [name for cell in documented[1:] for name in cell.split(", ")]
    assert names == OUTCOME_SCHEMA.names
    assert set(LOG_COLUMNS) - {"fingerprint"} < set(OUTCOME_SCHEMA.names)


def test_the_current_version_is_in_the_history() -> None:
    assert max(HISTORY) == SCHEMA_VERSION


@pytest.mark.parametrize("name", ["shard", "packed"])
def test_an_outcome_file_of_version_1_is_read(name: str) -> None:
    data = (DATA / f"outcomes-v1-{name}.parquet").read_bytes()
    file = decode(data, name)
    assert (file.facts.schema, file.facts.kind, file.facts.fingerprint) == (1, name, FINGERPRINT)
    assert file.table.schema.equals(OUTCOME_SCHEMA)
    rows = file.table.to_pylist()
    assert [row["key"] for row in rows] == [ref.key for ref in some_refs(4)]
    assert [row["reason"] for row in rows] == ["no_subject", None, None, "truncated"]
    assert [row["etag"] for row in rows] == [ref.etag for ref in some_refs(4)]
    assert rows[0]["boxes"] == [[1.0, 2.0, 300.5, 400.0], [5.0, 6.0, 7.0, 8.0]]
    assert rows[0]["attempts"] == [("fetch", 1), ("segment", 2)]
    assert rows[0]["preview"] == (b"\xff\xd8 preview" if name == "shard" else None)
    assert rows[1]["output_key"] == "mattes/shoes/0001.jpg.png"
    assert rows[1]["output_width"] is None, "a column of version 2"


def test_a_failure_log_file_of_version_1_is_read() -> None:
    file = decode((DATA / "failures-v1.parquet").read_bytes(), "failures", LOG_SCHEMA)
    (row,) = file.table.to_pylist()
    assert (row["key"], row["fingerprint"], row["preview"]) == ("shoes/0003.jpg", FINGERPRINT, b"\xff\xd8 preview")


@pytest.mark.parametrize("name", ["shard", "packed"])
def test_a_job_goes_on_where_version_1_stopped(name: str, clock: Clock) -> None:
    store = MemoryStore()
    data = (DATA / f"outcomes-v1-{name}.parquet").read_bytes()
    facts = decode(data, name).facts
    key = (
        LAYOUT.packed_file(FINGERPRINT, 0, "0" * 16)
        if name == "packed"
        else LAYOUT.shard_file(FINGERPRINT, facts.shards[0])
    )
    store.put(key, data, content_type="")
    assert [key for key, _ in run_job(store, clock, some_refs(6))] == ["shoes/0004.jpg", "shoes/0005.jpg"]
    retried = run_job(store, clock, some_refs(6), retry=RetrySelection(Reason.TRUNCATED))
    assert retried == [("shoes/0003.jpg", 1)]
    assert len(newest(store)) == 6


def test_a_file_of_a_newer_version_is_refused_with_both_versions() -> None:
    data = with_metadata((DATA / "outcomes-v1-shard.parquet").read_bytes(), {"schema": SCHEMA_VERSION + 1})
    with pytest.raises(
        LedgerError, match=f"x.parquet: written with schema version {SCHEMA_VERSION + 1}.*newer mattemill"
    ):
        decode(data, "x.parquet")


def test_a_foreign_parquet_file_is_refused() -> None:
    data = with_metadata((DATA / "outcomes-v1-shard.parquet").read_bytes(), None)
    with pytest.raises(LedgerError, match="not written by mattemill"):
        decode(data, "x.parquet")


@pytest.mark.parametrize("change", [{"shards": None}, {"schema": "new"}, {"generation": "none"}])
def test_damaged_metadata_is_refused(change: dict[str, object]) -> None:
    data = with_metadata((DATA / "outcomes-v1-shard.parquet").read_bytes(), change)
    with pytest.raises(LedgerError, match=r"x\.parquet: its metadata cannot be read"):
        decode(data, "x.parquet")


def test_a_column_that_an_older_file_lacks_is_null() -> None:
    old = pa.table({"key": pa.array(["a"]), "generation": pa.array([1], type=pa.int64())})
    new = conform(old, pa.schema([("generation", pa.int32()), ("colour", pa.string()), ("key", pa.string())]))
    assert new.to_pylist() == [{"generation": 1, "colour": None, "key": "a"}]


def test_what_is_written_today_has_the_columns_of_today(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(6), every_third_fails, finish=False)
    for key in store.objects:
        if not key.endswith(".parquet"):
            continue
        found = pq.read_schema(pa.BufferReader(store.get(key).data)).remove_metadata()
        assert found.equals(LOG_SCHEMA if "/failures/" in key else OUTCOME_SCHEMA)
    run_job(store, clock, some_refs(6))
    (key,) = [key for key in store.objects if "/packed-" in key]
    assert pq.read_schema(pa.BufferReader(store.get(key).data)).remove_metadata().equals(PACKED_SCHEMA)
