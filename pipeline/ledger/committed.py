"""The newest row of every key, small enough to keep for millions of keys.

A row is kept as one `bytes`, packed so that comparing two of them compares which is newer. About 190 bytes a key
with keys of 40 characters and ETags of S3 (measured). Tens of millions fit into a driver; a hundred million
want the anti-join to be streamed against key-sorted packed files, which is a later issue.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from mattemill.pipeline.ledger.schema import OUTCOME_SCHEMA
from mattemill.pipeline.ledger.stored_key import key_of, stored_key

RESUME_SCHEMA = pa.schema([OUTCOME_SCHEMA.field(n) for n in ("key", "etag", "reason", "generation", "finished_at")])
"""The columns that resume needs."""

_HEAD = struct.Struct(">Iq")
_HEX32 = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NewestRow:
    """How a key ended last. reason: None for a matte. etag: as listed; None when the source did not say."""

    generation: int
    finished_at: datetime
    reason: str | None
    etag: str | None

    @property
    def failed(self) -> bool:
        return self.reason is not None


def pack(generation: int, finished_us: int, reason: str | None, etag: str | None) -> bytes:
    """A row as bytes that sort by generation, then by time (microseconds since 1970), then by content.

    The content only breaks ties, so that every reader takes the same row.
    """
    return _head(generation, finished_us, reason) + pack_etag(etag)


def _head(generation: int, finished_us: int, reason: str | None) -> bytes:
    return _HEAD.pack(generation, finished_us) + (reason or "").encode() + b"\0"


def unpack(packed: bytes) -> NewestRow:
    """The inverse of `pack`."""
    generation, finished_us = _HEAD.unpack_from(packed)
    reason, _, tail = packed[_HEAD.size :].partition(b"\0")
    return NewestRow(generation, from_microseconds(finished_us), reason.decode() or None, unpack_etag(tail))


def peek(packed: bytes) -> tuple[int, int, bool]:
    """(generation, time in microseconds since 1970, whether it failed) of a packed row."""
    return *_HEAD.unpack_from(packed), packed[_HEAD.size] != 0


def packed_etag(packed: bytes) -> bytes:
    """What `unpack_etag` reads, of a packed row."""
    return packed[packed.index(b"\0", _HEAD.size) + 1 :]


def pack_etag(etag: str | None) -> bytes:
    """An ETag as few bytes: the usual 32 hex digits as 16."""
    if etag is None:
        return b"\0"
    if _HEX32.fullmatch(etag):
        return b"\1" + bytes.fromhex(etag)
    return b"\2" + etag.encode("utf-8", "surrogateescape")


def unpack_etag(packed: bytes) -> str | None:
    """The inverse of `pack_etag`."""
    if packed[:1] == b"\1":
        return packed[1:].hex()
    return packed[1:].decode("utf-8", "surrogateescape") if packed[:1] == b"\2" else None


def from_microseconds(since_1970: int) -> datetime:
    return _EPOCH + timedelta(microseconds=since_1970)


def changed(etag: str | None, other: str | None) -> bool:
    """Only two known and different ETags are a change: of an unknown one nobody can say that it changed."""
    return etag is not None and other is not None and etag != other


class Committed(Mapping[str, NewestRow]):
    """key -> its newest row, keys as the source has them. Adding the same rows again changes nothing."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}

    def add(self, table: pa.Table) -> None:
        """Take in rows with the columns of RESUME_SCHEMA."""
        rows = self._rows
        for key, packed in zip(table.column("key").to_pylist(), packed_rows(table), strict=True):
            old = rows.get(key)
            if old is None or packed > old:
                rows[key] = packed

    def packed(self) -> Mapping[str, bytes]:
        """Stored key -> packed row, for whoever looks at all of them: unpacking each takes long."""
        return self._rows

    def __getitem__(self, key: str) -> NewestRow:
        return unpack(self._rows[stored_key(key)])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and stored_key(key) in self._rows

    def __iter__(self) -> Iterator[str]:
        return map(key_of, self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def packed_rows(table: pa.Table) -> Iterator[bytes]:
    """`pack` of every row of a table with the columns of RESUME_SCHEMA."""
    last: tuple[int, int, str | None] | None = None
    head = b""
    for generation, finished_us, reason, etag in zip(
        table.column("generation").to_pylist(),
        table.column("finished_at").cast(pa.int64()).to_pylist(),
        table.column("reason").to_pylist(),
        table.column("etag").to_pylist(),
        strict=True,
    ):
        if last != (generation, finished_us, reason):  # the rows of a shard were committed at one moment
            last = (generation, finished_us, reason)
            head = _head(*last)
        yield head + pack_etag(etag)
