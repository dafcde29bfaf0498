"""The photographs that a file names."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import BinaryIO

from mattemill.pipeline.errors import SourceError, StoreError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.manifest_rows import ManifestRow, manifest_rows
from mattemill.pipeline.sources.seen_keys import SeenKeys
from mattemill.pipeline.sources.skipping import DUPLICATE, FOLDER_MARKER, Skipping
from mattemill.pipeline.storage.location import FILE, Location
from mattemill.pipeline.storage.store import Store


class Manifest:
    """Photographs named by a `.parquet`, `.csv` or `.jsonl` file, local or on S3.

    Columns: `key` or `uri` (either means the same), optional `etag` and `size`. An address is absolute
    (`s3://bucket/key`, `file:///path`, or `/path` in a local manifest) or relative to the folder that holds the
    manifest; the first row decides which, and all rows must be of that kind. Addresses are literal: no
    percent-decoding. But a local path has many spellings, and its key is the plainest: './x//a.jpg' is 'x/a.jpg',
    '..' is an error, and '.' or 'x/' (`find` writes '.') is no photograph. What a manifest names is taken whatever its
    suffix, for somebody put it there; only outputs of the job and repeated keys are left out. A local manifest is
    streamed; of one on S3 the encoded bytes are in memory.
    """

    def __init__(self, location: Location, store: Store, exclude: Location | None = None) -> None:
        """store: that of the folder that holds the manifest (`location.parent`)."""
        self._location = location
        self._store = store
        self._exclude = exclude
        self._skipping = Skipping(exclude)
        with closing(self._rows()) as rows:
            first = next(rows, None)
        if first is None:
            raise SourceError(f"{location}: is empty; it should name at least one photograph")
        self.root = self._root_of(first.address)

    @property
    def skipped(self) -> Mapping[str, int]:
        """Left out by the last listing, counted by kind."""
        return self._skipping.counts

    def list(self) -> Iterator[ImageRef]:
        """The photographs in the order of the file. Raises SourceError naming the file and the row."""
        skipping = self._skipping = Skipping(self._exclude)
        seen = SeenKeys()
        with closing(self._rows()) as rows:
            for row in rows:
                ref = self._ref(row)
                if ref is None:
                    skipping.count(FOLDER_MARKER)
                    continue
                if skipping.is_output(ref.uri, ref.key):
                    continue
                if not seen.add(ref.key):
                    skipping.count(DUPLICATE)
                    continue
                yield ref

    def _rows(self) -> Generator[ManifestRow, None, None]:
        with self._open() as file:
            yield from manifest_rows(str(self._location), file)

    def _open(self) -> BinaryIO:
        try:
            if self._location.scheme == FILE:
                return open(self._location.path, "rb")
            return io.BytesIO(self._store.get(self._location.path).data)
        except (StoreError, OSError) as error:
            raise SourceError(f"{self._location}: cannot be read: {error}") from error

    def _root_of(self, address: str) -> str:
        if address.startswith("s3://"):
            return "s3://"
        if address.startswith("file://") or (self._location.scheme == FILE and address.startswith("/")):
            return "file:///"
        return self._location.parent.root

    def _ref(self, row: ManifestRow) -> ImageRef | None:
        address = row.address
        if self._root_of(address) != self.root:
            raise SourceError(
                f"{self._location}: {row.where}: {address!r} is of another kind than the first row (which is below "
                f"{self.root}); write all addresses as s3:// or file:// addresses, or all relative to the manifest"
            )
        if self.root == "s3://":
            bucket, _, key = address[len("s3://") :].partition("/")
            if not bucket or not key:
                raise SourceError(f"{self._location}: {row.where}: {address!r}: write s3://bucket/key")
            return ImageRef(address, address, row.etag, row.size)
        if self.root == "file:///":
            path = address.removeprefix("file://")
            if not path.startswith("/") or path == "/":
                raise SourceError(f"{self._location}: {row.where}: {address!r}: write file:///absolute/path")
            plain = self._plain(path, row)
            uri = f"file:///{plain}"
            return ImageRef(uri, uri, row.etag, row.size) if plain else None
        if self._location.scheme == FILE:
            address = self._plain(address, row)
        return ImageRef(address, self.root + address, row.etag, row.size) if address else None

    def _plain(self, path: str, row: ManifestRow) -> str:
        """A path without empty and '.' segments; '' for a folder. '..' cannot be resolved: links may lead elsewhere."""
        segments = path.split("/")
        if ".." in segments:
            raise SourceError(
                f"{self._location}: {row.where}: {row.address!r}: '..' is not allowed in a path; "
                "write the path without it, or as file:///absolute/path"
            )
        if segments[-1] in ("", "."):
            return ""
        return "/".join(segment for segment in segments if segment not in ("", "."))
