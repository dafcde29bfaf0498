"""The failure log as its users read it: pandas, DuckDB and pyarrow, as it stands."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest
from ledger_case import (
    FINGERPRINT,
    LAYOUT,
    Clock,
    DyingStore,
    Killed,
    a_failure,
    a_matte,
    assert_whole,
    every_third_fails,
    failures_in_log,
    open_ledger,
    outcomes_of,
    run_job,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.folder_store import FolderStore
from mattemill.pipeline.storage.location import Location, open_store


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    """A log of 4 failures of the first day and 2 of the second, one of each reason."""
    clock = Clock("2026-03-01T12:00:00+00:00")
    store = FolderStore(tmp_path)
    run_job(store, clock, some_refs(10), every_third_fails)
    clock.pass_by(days=1)
    run_job(store, clock, some_refs(16), every_third_fails)
    return tmp_path / LAYOUT.failures


def test_pandas_reads_the_folder(log_folder: Path) -> None:
    frame = pd.read_parquet(log_folder)
    assert sorted(zip(frame["date"].astype(str), frame["reason"], frame["key"], strict=True)) == [
        ("2026-03-01", "no_subject", "shoes/0000.jpg"),
        ("2026-03-01", "no_subject", "shoes/0006.jpg"),
        ("2026-03-01", "truncated", "shoes/0003.jpg"),
        ("2026-03-01", "truncated", "shoes/0009.jpg"),
        ("2026-03-02", "no_subject", "shoes/0012.jpg"),
        ("2026-03-02", "truncated", "shoes/0015.jpg"),
    ]
    row = frame.sort_values("key").iloc[0]
    assert (row["stage"], row["message"], row["fingerprint"]) == ("detect", "Nothing stands out in it.", FINGERPRINT)
    assert (row["generation"], row["width"], row["height"], row["preview"]) == (0, 640, 480, b"\xff\xd8 preview")
    assert dict(row["attempts"]) == {"fetch": 1, "segment": 2}
    assert list(row["boxes"][0]) == [1.0, 2.0, 300.5, 400.0]


def test_pandas_reads_one_reason_of_one_day(log_folder: Path) -> None:
    frame = pd.read_parquet(log_folder, filters=[("reason", "=", "truncated"), ("date", "=", "2026-03-02")])
    assert list(frame["key"]) == ["shoes/0015.jpg"]


def test_duckdb_reads_the_folder_with_its_partitions(log_folder: Path) -> None:
    found = duckdb.sql(
        "select date, reason, count(*), max(scores['quality']), max(boxes[1][3]), max(attempts['segment']) "
        f"from read_parquet('{log_folder}/**/*.parquet', hive_partitioning=true) group by all order by all"
    ).fetchall()
    assert found == [
        (date(2026, 3, 1), "no_subject", 2, 0.5, 300.5, 2),
        (date(2026, 3, 1), "truncated", 2, 0.5, 300.5, 2),
        (date(2026, 3, 2), "no_subject", 1, 0.5, 300.5, 2),
        (date(2026, 3, 2), "truncated", 1, 0.5, 300.5, 2),
    ]


def test_pyarrow_reads_the_folder_with_its_partitions(log_folder: Path) -> None:
    dataset = ds.dataset(log_folder, partitioning="hive")
    assert dataset.count_rows(filter=ds.field("reason") == "truncated") == 3
    assert {"date", "reason"} <= set(dataset.schema.names)


def test_pyarrow_reads_the_log_from_s3(s3: EmbeddedS3, bucket: str, clock: Clock) -> None:
    from pyarrow.fs import S3FileSystem

    store = open_store(Location.parse(f"s3://{bucket}"), JobConfig())
    run_job(store, clock, some_refs(10), every_third_fails)
    files = S3FileSystem(
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        endpoint_override=s3.endpoint_url.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )
    folder = f"{bucket}/{LAYOUT.failures}".rstrip("/")
    table = ds.dataset(folder, filesystem=files, partitioning="hive").to_table(columns=["key", "reason"])
    assert sorted(table.column("key").to_pylist()) == [f"shoes/{number:04d}.jpg" for number in (0, 3, 6, 9)]


def test_duckdb_reads_the_outcome_files_of_a_job(tmp_path: Path, clock: Clock) -> None:
    run_job(FolderStore(tmp_path), clock, some_refs(10), every_third_fails)
    folder = tmp_path / LAYOUT.outcomes(FINGERPRINT)
    found = duckdb.sql(
        f"select outcome, count(*), sum(output_bytes), max(seconds['fetch']) from read_parquet('{folder}/*.parquet') "
        "group by all order by all"
    ).fetchall()
    assert found == [("failure", 4, None, 0.5), ("matte", 6, 6 * 4321, 0.5)]


def test_a_failure_that_was_put_right_stays_in_the_log(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    refs = some_refs(4)

    def end(ref: ImageRef, generation: int) -> Outcome:
        return a_matte(ref) if generation else a_failure()

    run_job(store, clock, refs, end)
    run_job(store, clock, refs, end, retry=RetrySelection())
    assert {(row[0], row[2]) for row in failures_in_log(store)} == {(ref.key, 0) for ref in refs}
    assert_whole(store)


def test_the_log_of_a_commit_before_midnight_that_is_repaired_after_it_keeps_its_date() -> None:
    clock = Clock("2026-03-01T23:59:59.900000+00:00")
    store = DyingStore(MemoryStore())
    shard = make_shard(some_refs(6))
    ledger = open_ledger(store, clock)
    store.writes_left = 1
    with pytest.raises(Killed):
        ledger.commit(shard, outcomes_of(shard, every_third_fails))
    store.writes_left = None
    assert failures_in_log(store).total() == 0
    clock.pass_by(hours=3)
    with open_ledger(store, clock):
        assert {row[3] for row in failures_in_log(store)} == {"2026-03-01"}
    assert failures_in_log(store).total() == 2


def test_writing_the_log_again_gives_the_same_bytes(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(3), every_third_fails, finish=False)
    (name,) = [key for key in store.objects if "/failures/" in key]
    before = store.get(name).data
    store.delete(name)
    with open_ledger(store, clock):
        assert store.get(name).data == before


def test_a_log_file_deleted_by_its_owner_stays_away_once_the_job_is_packed(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(9), every_third_fails)
    for key in [key for key in store.objects if "/failures/" in key]:
        store.delete(key)
    run_job(store, clock, some_refs(9), every_third_fails)
    assert failures_in_log(store).total() == 0
