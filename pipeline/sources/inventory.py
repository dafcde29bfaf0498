"""The photographs that an S3 Inventory lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mattemill.pipeline.errors import MissingObjectError, ObjectTooLargeError, SourceError, StoreError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.inventory_rows import InventoryRow, check_columns, csv_rows, parquet_rows
from mattemill.pipeline.sources.seen_keys import SeenKeys
from mattemill.pipeline.sources.skipping import DUPLICATE, Skipping
from mattemill.pipeline.storage.location import FILE, Location
from mattemill.pipeline.storage.store import Store

MANIFEST_NAME = "manifest.json"
OLDER_VERSION = "older version"
DELETE_MARKER = "delete marker"

_CALLED = {name: name for name in ("Bucket", "Key", "VersionId", "IsLatest")}


@dataclass(frozen=True, slots=True)
class _DataFile:
    """A data file as the manifest states it. size: bytes. md5: hexadecimal, of the bytes as stored."""

    key: str
    size: int
    md5: str


class Inventory:
    """The current versions of the objects that a daily or weekly S3 Inventory names, by its `manifest.json`.

    A bucket is listed for no request but one a data file. Keys, addresses and what is left out are those of the whole
    source bucket as a folder (`s3://bucket/`): a job may go on from a listing with an inventory, and back. Data files
    (CSV in gzip, or Parquet) lie in the destination bucket, are read one after the other, and checked against size
    and MD5 of the manifest before a row of them is used: memory is that of the largest one, and 16 bytes a key to
    know repeated ones. An inventory is a day or more old: what was deleted since fails as missing.
    """

    def __init__(
        self, location: Location, store: Store, open_bucket: Callable[[str], Store], exclude: Location | None = None
    ) -> None:
        """store: that of the folder that holds the manifest (`location.parent`). open_bucket: the store of a bucket.

        Raises SourceError when the manifest cannot be read or is none, or lists in ORC.
        """
        self._location = location
        self._exclude = exclude
        self._skipping = Skipping(exclude)
        manifest = _read_manifest(location, store)
        try:
            self._bucket = _text(manifest, "sourceBucket")
            destination = _text(manifest, "destinationBucket").rpartition(":")[2]  # an ARN
            self._format = _text(manifest, "fileFormat").upper()
            self._columns = tuple(column.strip() for column in _text(manifest, "fileSchema").split(","))
            self._files = [
                _DataFile(_text(file, "key"), int(file["size"]), _text(file, "MD5checksum").lower())
                for file in manifest["files"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{location}: is not the {MANIFEST_NAME} of an S3 Inventory: {error!r}; for a list of photographs "
                "of your own, write a .parquet, .csv or .jsonl file"
            ) from error
        if self._format not in ("CSV", "PARQUET"):
            raise SourceError(
                f"{location}: fileFormat {self._format} is not supported; set the inventory's format to Parquet or CSV"
            )
        if self._format == "CSV":
            check_columns(f"{location}: fileSchema", _CALLED, self._columns)
        if not self._files:
            raise SourceError(f"{location}: is empty; it should name at least one data file")
        self.root = f"s3://{self._bucket}/"
        self._data = open_bucket(destination)
        self._data_root = f"s3://{destination}/"

    @property
    def skipped(self) -> Mapping[str, int]:
        """Left out by the last listing, counted by kind."""
        return self._skipping.counts

    def list(self) -> Iterator[ImageRef]:
        """The photographs in the order of the data files. Raises SourceError naming the file and the row."""
        skipping = self._skipping = Skipping(self._exclude)
        seen = SeenKeys()
        for file in self._files:
            for row in self._rows(file):
                if row.bucket != self._bucket:
                    raise SourceError(
                        f"{self._data_root}{file.key}: {row.key!r} is of bucket {row.bucket!r}, but the manifest's "
                        f"sourceBucket is {self._bucket!r}"
                    )
                if not row.latest or row.deleted:
                    skipping.count(DELETE_MARKER if row.deleted else OLDER_VERSION)
                    continue
                uri = self.root + row.key
                if skipping.is_output(uri, row.key) or skipping.is_no_image(row.key):
                    continue
                if not seen.add(row.key):
                    skipping.count(DUPLICATE)
                    continue
                yield ImageRef(row.key, uri, row.etag, row.size)

    def _rows(self, file: _DataFile) -> Iterator[InventoryRow]:
        name = self._data_root + file.key
        data = self._checked(name, file)
        return csv_rows(name, data, self._columns) if self._format == "CSV" else parquet_rows(name, data)

    def _checked(self, name: str, file: _DataFile) -> bytes:
        try:
            data = self._data.get(file.key, max_bytes=file.size).data
        except MissingObjectError as error:
            raise SourceError(
                f"{name}: the manifest {self._location} names it, but it is not there: deleted by a lifecycle rule, or "
                "the inventory's destination prefix ends in '/', which S3 writes down wrongly; take a newer inventory"
            ) from error
        except ObjectTooLargeError as error:
            raise SourceError(f"{name}: is longer than the {file.size} bytes of the manifest: {error}") from error
        except StoreError as error:
            raise SourceError(f"{name}: cannot be read: {error}") from error
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if len(data) != file.size or found != file.md5:
            raise SourceError(
                f"{name}: {len(data)} bytes with MD5 {found}, but the manifest says {file.size} bytes with MD5 "
                f"{file.md5}; the file was changed or overwritten, take a newer inventory"
            )
        return data


def _read_manifest(location: Location, store: Store) -> Any:
    try:
        return json.loads(store.get(location.name if location.scheme == FILE else location.path).data)
    except StoreError as error:
        raise SourceError(f"{location}: cannot be read: {error}") from error
    except ValueError as error:
        raise SourceError(f"{location}: not JSON: {error}") from error


def _text(values: Any, name: str) -> str:
    value = values[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} = {value!r}: must be a text")
    return value
