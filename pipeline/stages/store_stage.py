"""store: encodes outputs and writes them to the sink."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mattemill.pipeline.allocator import keep_freed_memory
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ImageError, StoreError
from mattemill.pipeline.images.encode import CONTENT_TYPES, encode
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.output_key import output_key
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.messages import Cut, DeviceCut, Stored
from mattemill.pipeline.stages.stage import Done, Failed, StageResult
from mattemill.pipeline.stages.thread_map import ThreadMap
from mattemill.pipeline.storage.location import Location, open_store
from mattemill.pipeline.storage.store import SoonDurable


class StoreStage:
    """(ImageRef, Cut or DeviceCut) -> Stored; `config.fetch_threads` writes at once.

    The key follows from the photograph's key, so that doing it twice writes the same object. An output that cannot
    be written is that image's `store_failed`, with what the sink answered.
    """

    name = "store"
    device = "cpu"

    def __init__(self, config: JobConfig, sink: str) -> None:
        """sink: as the user writes it. Raises StoreError when the sink's store cannot be opened."""
        self._format = config.format
        self._sink = Location.parse(sink)
        self._store = open_store(self._sink, config)
        self._soon = self._store if isinstance(self._store, SoonDurable) else None
        self._threads = ThreadMap(config.fetch_threads, "store")
        keep_freed_memory()

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        """Write a batch; one `Done` with a Stored or one `Failed` an item, in order."""
        results = self._threads(self._write, items)
        if self._soon is not None:
            start = time.perf_counter()
            try:
                self._soon.flush()
            except StoreError as error:
                failure = Failure(Reason.STORE_FAILED, self.name, str(error), facts=self._took(start))
                return [Failed(failure) if isinstance(result, Done) else result for result in results]
        return results

    def _write(self, item: tuple[Any, ...]) -> StageResult:
        start = time.perf_counter()
        ref: ImageRef = item[0]
        cut: Cut | DeviceCut = item[1]
        try:
            data = cut.png() if isinstance(cut, DeviceCut) else encode(cut.pixels, self._format)
            key = self._sink.key(output_key(ref.key, self._format))
            if self._soon is not None:
                self._soon.put_soon(key, data, content_type=CONTENT_TYPES[self._format])
            else:
                self._store.put(key, data, content_type=CONTENT_TYPES[self._format])
        except ImageError as error:
            return Failed(Failure(error.reason, self.name, error.message, facts=self._took(start)))
        except StoreError as error:
            return Failed(Failure(Reason.STORE_FAILED, self.name, str(error), facts=self._took(start)))
        height, width = (cut.shape if isinstance(cut, DeviceCut) else cut.pixels.shape)[:2]
        return Done(Stored(key, len(data), width, height), self._took(start))

    def _took(self, start: float) -> Facts:
        return Facts(seconds={self.name: time.perf_counter() - start})
