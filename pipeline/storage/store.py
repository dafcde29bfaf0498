"""The small interface to where bytes live: one bucket, or one folder.

Implementations: `S3Store` (boto3), `FastS3Store` (obstore), `FolderStore`. All are safe to use from several
threads, retry what is worth it, and raise `StoreError`s only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as listed. etag without quotes; size in bytes; modified in UTC."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Blob:
    """An object as read: all of its bytes, and the ETag that came with them."""

    data: bytes
    etag: str


class Store(Protocol):
    """Get, put, list, head, delete. `key` is the whole key in the bucket, or the path below the folder."""

    def get(self, key: str, *, etag: str | None = None) -> Blob:
        """All bytes of an object, its length checked; with `etag`, only if it still is that version.

        Raises MissingObjectError, ForbiddenError, ChangedObjectError, StoreUnavailableError.
        """

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        """Write an object whole. With `if_absent`, raises AlreadyThereError if the key exists."""

    def head(self, key: str) -> Entry:
        """Size, ETag and time of one object. Raises MissingObjectError."""

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[Entry]:
        """Objects under a prefix in the order of their keys (UTF-8 bytes), streamed."""

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
