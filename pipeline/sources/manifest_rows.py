"""The rows of a manifest file: Parquet, CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from mattemill.pipeline.errors import SourceError

SUFFIXES = (".parquet", ".csv", ".jsonl")

_BATCH_ROWS = 16_384
_COLUMNS = ("key", "uri", "etag", "size")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row. where: 'line 7' or 'row 7', for messages. address: the `key` or the `uri` as it stands."""

    where: str
    address: str
    etag: str | None
    size: int | None


def manifest_rows(name: str, file: BinaryIO) -> Iterator[ManifestRow]:
    """The rows of an open manifest, streamed; name: its path, whose suffix decides the format.

    Raises SourceError naming the file and the row.
    """
    suffix = "." + name.rpartition(".")[2].lower()
    if suffix == ".parquet":
        return _parquet_rows(name, file)
    if suffix == ".csv":
        return _csv_rows(name, file)
    return _jsonl_rows(name, file)


def _parquet_rows(name: str, file: BinaryIO) -> Iterator[ManifestRow]:
    row = 0
    try:
        parquet = pq.ParquetFile(file)
        columns = [c for c in _COLUMNS if c in parquet.schema_arrow.names]
        _check_columns(name, columns, parquet.schema_arrow.names)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            for values in batch.to_pylist():
                row += 1
                yield _row(name, f"row {row}", values)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name}: not a readable Parquet file (after row {row}): {error}") from error


def _csv_rows(name: str, file: BinaryIO) -> Iterator[ManifestRow]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    header: list[str] | None = None
    try:
        for values in reader:
            where = f"line {reader.line_num}"
            if not values or values == [""]:
                continue  # a blank line
            if header is None:
                names = [value.strip().lower() for value in values]
                if "key" in names or "uri" in names:
                    header = names
                    _check_columns(name, [c for c in names if c in _COLUMNS], names)
                    continue
                header = ["key"]
            if len(values) != len(header):
                hint = (
                    "" if header != ["key"] else "; a file without a header has one column, keys with commas in quotes"
                )
                raise SourceError(f"{name}: {where}: {len(values)} values for the columns {', '.join(header)}{hint}")
            yield _row(name, where, dict(zip(header, values, strict=True)))
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: line {reader.line_num + 1} or shortly after: {error}") from error
    finally:
        text.detach()  # whoever opened the file closes it


def _jsonl_rows(name: str, file: BinaryIO) -> Iterator[ManifestRow]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            raise SourceError(f"{name}: {where}: not JSON: {error}") from error
        if isinstance(values, str):
            values = {"key": values}
        if not isinstance(values, dict):
            raise SourceError(f"{name}: {where}: expected an object with `key` or `uri`, or a string")
        yield _row(name, where, values)


def _check_columns(name: str, found: list[str], all_names: list[str]) -> None:
    if "key" not in found and "uri" not in found:
        raise SourceError(f"{name}: needs a column `key` or `uri`; it has {', '.join(all_names) or 'none'}")
    if "key" in found and "uri" in found:
        raise SourceError(f"{name}: has both `key` and `uri`; keep the one that says where the photographs are")


def _row(name: str, where: str, values: dict[str, Any]) -> ManifestRow:
    if ("key" in values) == ("uri" in values):
        raise SourceError(f"{name}: {where}: needs either `key` or `uri`")
    address = values.get("key", values.get("uri"))
    if not isinstance(address, str) or not address:
        raise SourceError(f"{name}: {where}: {'key' if 'key' in values else 'uri'} = {address!r}: must be a text")
    try:
        address.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{name}: {where}: {address!r} is not valid Unicode") from error
    etag = values.get("etag")
    if isinstance(etag, float) and math.isnan(etag):  # pandas' missing value
        etag = None
    if etag is not None and not isinstance(etag, str):
        raise SourceError(f"{name}: {where}: etag = {etag!r}: must be a text")
    return ManifestRow(where, address, (etag or "").strip('"') or None, _size(name, where, values.get("size")))


def _size(name: str, where: str, value: Any) -> int | None:
    """A size in bytes, also as pandas writes it once one of the column is missing: 123.0, and NaN or '' for none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value) if isinstance(value, str) and not value.strip().isdecimal() else value
        if isinstance(number, float) and math.isnan(number):
            return None
        size = int(number)
        if size < 0 or (not isinstance(number, str) and size != number):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"{name}: {where}: size = {value!r}: must be a whole number of bytes") from error
    return size
