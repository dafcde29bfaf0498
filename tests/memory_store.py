"""An object store in memory, with the behaviour of the real ones: the stand-in for tests and for trying things out.

Strongly consistent, conditional PUTs, listings in the order of keys as UTF-8 bytes. `objects` is in view.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from mattemill.pipeline.errors import (
    AlreadyThereError,
    ChangedObjectError,
    MissingObjectError,
    ObjectTooLargeError,
)
from mattemill.pipeline.storage.store import Blob, Entry


class MemoryStore:
    """A `Store` whose objects are a dict: key -> (bytes, time of the last write by `now`)."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self._now = now
        self._lock = threading.Lock()

    def get(self, key: str, *, etag: str | None = None, max_bytes: int | None = None) -> Blob:
        entry = self.head(key)
        data = self.objects[key][0]
        if etag is not None and etag != entry.etag:
            raise ChangedObjectError(f"memory:{key}: was {etag}, is {entry.etag}")
        if max_bytes is not None and len(data) > max_bytes:
            raise ObjectTooLargeError(f"memory:{key}: {len(data)} bytes, over the limit of {max_bytes}")
        return Blob(data, entry.etag)

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        with self._lock:
            if if_absent and key in self.objects:
                raise AlreadyThereError(f"memory:{key}: is already there")
            self.objects[key] = (bytes(data), self._now())

    def head(self, key: str) -> Entry:
        found = self.objects.get(key)
        if found is None:
            raise MissingObjectError(f"memory:{key}: does not exist")
        data, modified = found
        return Entry(key, len(data), hashlib.md5(data).hexdigest(), modified)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[Entry]:
        with self._lock:
            keys = sorted((key for key in self.objects if key.startswith(prefix)), key=_utf8)
        for key in keys:
            if (start_after is None or _utf8(key) > _utf8(start_after)) and key in self.objects:
                yield self.head(key)

    def delete(self, key: str) -> None:
        with self._lock:
            self.objects.pop(key, None)


def _utf8(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
