"""The photographs below an S3 prefix or in a local folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mattemill.pipeline.errors import SourceError, StoreError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.skipping import Skipping
from mattemill.pipeline.storage.location import Location
from mattemill.pipeline.storage.store import ListsMany, Store


class FolderSource:
    """Lists what lies below a location; `s3://bucket/photos` and `s3://bucket/photos/` mean the same folder."""

    def __init__(self, location: Location, store: Store, exclude: Location | None = None) -> None:
        self.root = location.root
        self._location = location
        self._store = store
        self._exclude = exclude
        self._skipping = Skipping(exclude)

    @property
    def skipped(self) -> Mapping[str, int]:
        """Left out by the last listing, counted by kind."""
        return self._skipping.counts

    def list(self) -> Iterator[ImageRef]:
        """The photographs in the order in which the store lists them.

        Raises SourceError when the store cannot be listed, and when nothing at all lies there.
        """
        skipping = self._skipping = Skipping(self._exclude)
        start = len(self._location.prefix)
        anything = False
        store, prefix = self._store, self._location.prefix
        try:
            for entry in store.list_many(prefix) if isinstance(store, ListsMany) else store.list(prefix):
                anything = True
                key = entry.key[start:]
                uri = self.root + key
                if skipping.is_output(uri, key) or skipping.is_no_image(key):
                    continue
                yield ImageRef(key=key, uri=uri, etag=entry.etag or None, size=entry.size)
        except StoreError as error:
            raise SourceError(f"{self._location}: cannot be listed: {error}") from error
        if not anything:
            raise SourceError(f"{self._location}: nothing lies there; check the name of the folder or prefix")
