"""The rows of one data file of an S3 Inventory: CSV in gzip, or Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.parquet as pq

from mattemill.pipeline.errors import SourceError

_BATCH_ROWS = 16_384
_PARQUET_COLUMNS = ("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "e_tag")


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One version of one object. key: decoded. etag: no quotes; None when not told. size: bytes; None when not told.

    latest: whether it is the current version. deleted: whether it is a delete marker. A list of the current versions
    alone says neither: (True, False).
    """

    bucket: str
    key: str
    etag: str | None
    size: int | None
    latest: bool
    deleted: bool


def csv_rows(name: str, data: bytes, columns: tuple[str, ...]) -> Iterator[InventoryRow]:
    """The rows of a `.csv.gz` file without a header, decompressed as they are read.

    name: for messages. columns: the `fileSchema` of the manifest, in its order. Keys are URL-encoded in CSV, and
    there alone; S3 writes a space as '+' or '%20', and a plus as '%2B'.
    Raises SourceError naming the file and the line.
    """
    line = 0
    try:
        with gzip.open(io.BytesIO(data), "rt", encoding="utf-8", newline="") as text:
            for line, values in enumerate(csv.reader(text, strict=True), 1):
                if len(values) != len(columns):
                    raise SourceError(
                        f"{name}: line {line}: {len(values)} values for the {len(columns)} columns of the fileSchema"
                    )
                row = dict(zip(columns, values, strict=True))
                yield InventoryRow(
                    bucket=row["Bucket"],
                    key=unquote_plus(row["Key"], errors="strict"),
                    etag=row.get("ETag", "").strip('"') or None,
                    size=int(size) if (size := row.get("Size", "")) else None,
                    latest=_flag(row.get("IsLatest"), True),
                    deleted=_flag(row.get("IsDeleteMarker"), False),
                )
    except (csv.Error, OSError, EOFError, zlib.error, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise SourceError(f"{name}: near line {line + 1}: not the CSV of an inventory: {error}") from error


def parquet_rows(name: str, data: bytes) -> Iterator[InventoryRow]:
    """The rows of a Parquet file, in batches. Raises SourceError naming the file and the row."""
    done = 0
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        found = [column for column in _PARQUET_COLUMNS if column in file.schema_arrow.names]
        check_columns(
            name, {"Bucket": "bucket", "Key": "key", "VersionId": "version_id", "IsLatest": "is_latest"}, found
        )
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=found):
            for row in batch.to_pylist():
                done += 1
                latest, deleted = row.get("is_latest"), row.get("is_delete_marker")
                yield InventoryRow(
                    bucket=row["bucket"],
                    key=row["key"],
                    etag=(row.get("e_tag") or "").strip('"') or None,
                    size=row.get("size"),
                    latest=True if latest is None else latest,
                    deleted=bool(deleted),
                )
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name}: not a readable Parquet file (after row {done}): {error}") from error


def check_columns(name: str, called: dict[str, str], found: list[str] | tuple[str, ...]) -> None:
    """Raises SourceError unless bucket and key are there, and IsLatest where versions are told apart."""
    missing = [called[column] for column in ("Bucket", "Key") if called[column] not in found]
    if called["VersionId"] in found and called["IsLatest"] not in found:
        missing.append(called["IsLatest"])  # else old versions would be taken for photographs of their own
    if missing:
        raise SourceError(
            f"{name}: no column {' and '.join(missing)}; it has {', '.join(found) or 'none that is known'}"
        )


def _flag(text: str | None, missing: bool) -> bool:
    if not text:
        return missing
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return lowered == "true"
