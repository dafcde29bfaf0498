"""The small interface to where bytes live: one bucket, or one folder.

Implementations: `S3Store` (boto3), `FastS3Store` (obstore), `FolderStore`. All are safe to use from several
threads, retry what is worth it, and raise `StoreError`s only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable


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

    def get(self, key: str, *, etag: str | None = None, max_bytes: int | None = None) -> Blob:
        """All bytes of an object, its length checked; with `etag`, only if it still is that version.

        Raises MissingObjectError, ForbiddenError, ChangedObjectError, StoreUnavailableError; and, before anything
        is read, ObjectTooLargeError when it has more than `max_bytes` bytes.
        """

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        """Write an object whole. With `if_absent`, raises AlreadyThereError if the key exists.

        A PUT whose answer was lost is tried again, so that AlreadyThereError may mean 'there by this very call':
        use `if_absent` only where what is already there is as good as what would have been written.
        """

    def head(self, key: str) -> Entry:
        """Size, ETag and time of one object. Raises MissingObjectError."""

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[Entry]:
        """Objects under a prefix in the order in which the store lists them, streamed.

        S3 and FolderStore: the order of the keys as UTF-8 bytes. Not every compatible store keeps to it: SeaweedFS
        lists folder by folder ('a/z' before 'a-b'), directory buckets in no order. Merge with a set, not by order.
        """

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""


@runtime_checkable
class SoonDurable(Protocol):
    """A store that can make many writes durable at once, for less than one by one: `FolderStore`."""

    def put_soon(self, key: str, data: bytes, *, content_type: str) -> None:
        """As `Store.put`, whole and visible at once, but only after `flush` sure to survive a power cut."""

    def flush(self) -> None:
        """Everything that was put before this call is on disk when it returns. Raises StoreUnavailableError."""


@runtime_checkable
class ListsMany(Protocol):
    """A store that has a quicker way to list millions of objects: `S3Store`, `FastS3Store`."""

    def list_many(self, prefix: str) -> Iterator[Entry]:
        """The same entries in the same order as `Store.list`; close the iterator to end its threads."""
