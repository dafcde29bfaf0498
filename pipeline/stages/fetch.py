"""fetch: reads photographs and judges their headers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mattemill.pipeline.allocator import keep_freed_memory
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ChangedObjectError, ImageError, StoreError
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import Header, ImageRef, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.stage import Done, Failed, StageResult
from mattemill.pipeline.stages.thread_map import ThreadMap
from mattemill.pipeline.storage.location import Location, open_store, split_uri
from mattemill.pipeline.storage.store import Blob, Store


class FetchStage:
    """(ImageRef,) -> Photo; `config.fetch_threads` reads at once. No pixel is decoded here.

    held_bytes is the decoded size. What an object store answers, and what the header shows, ends the image with its
    reason: missing, forbidden, changed_while_reading, read_failed; too_large, truncated, unsupported_type, undecodable.
    The size of a reference only saves reading what is over the limit: what version is read, its ETag decides.
    """

    name = "fetch"
    device = "cpu"

    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._threads = ThreadMap(config.fetch_threads, "fetch")
        self._stores: dict[Location, Store] = {}
        keep_freed_memory()

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        """Fetch a batch; one `Done` with a Photo or one `Failed` an item, in order."""
        return self._threads(self._fetch, [item[0] for item in items])

    def _fetch(self, ref: ImageRef) -> StageResult:
        start = time.perf_counter()
        limit = self._config.max_file_bytes
        blob: Blob | None = None
        header: Header | None = None
        try:
            if ref.size is not None and ref.size > limit:
                raise ImageError(
                    Reason.TOO_LARGE, f"the file has {ref.size} bytes, over the limit of {limit} (max_file_bytes)"
                )
            location, key = split_uri(ref.uri)
            try:
                blob = self._store(location).get(key, etag=ref.etag, max_bytes=limit)
            except ChangedObjectError as error:
                raise _of_another_version(error, ref) from error
            header = read_header(blob.data)
            check_limits(header, len(blob.data), self._config.max_pixels, limit)
        except (ImageError, StoreError) as error:
            return Failed(Failure(error.reason, self.name, str(error), facts=self._facts(ref, blob, header, start)))
        photo = Photo(ref, header, np.frombuffer(blob.data, np.uint8))
        return Done(photo, self._facts(ref, blob, header, start), held_bytes=header.decoded_bytes)

    def _facts(self, ref: ImageRef, blob: Blob | None, header: Header | None, start: float) -> Facts:
        width, height = header.shown_size if header is not None else (None, None)
        return Facts(
            width=width,
            height=height,
            format=header.format if header is not None else None,
            encoded_bytes=len(blob.data) if blob is not None else ref.size,
            etag=blob.etag if blob is not None else None,
            seconds={self.name: time.perf_counter() - start},
        )

    def _store(self, location: Location) -> Store:
        store = self._stores.get(location)
        if store is None:
            store = self._stores[location] = open_store(location, self._config)
        return store


def _of_another_version(error: ChangedObjectError, ref: ImageRef) -> ChangedObjectError:
    if ref.etag is None:  # a file that is being written
        return error
    return ChangedObjectError(
        f"{error}; the object's ETag is not {ref.etag}, as the source said: if that was a manifest, the manifest is "
        "out of date, write it again (without ETags it takes what is there); else run again with --retry-failed"
    )
