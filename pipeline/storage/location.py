"""Where a source or a sink lies, as a user writes it; and the store that reaches it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.storage.store import Store

if TYPE_CHECKING:
    from mattemill.pipeline.config import JobConfig

S3 = "s3"
FILE = "file"


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket with a key or prefix, or an absolute path.

    scheme: 's3' or 'file'. bucket: '' for a file. path: for S3 the key or prefix as written, without a leading
    slash; for a file the absolute path, without a trailing slash (but '/' itself).

    URIs are literal: nothing in them is percent-decoded, so that every key that S3 allows can be written.
    """

    scheme: str
    bucket: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """A location from `s3://bucket/prefix`, `file:///absolute/path` or a path. Raises UsageError."""
        if not text:
            raise UsageError("an empty location: write s3://bucket/prefix or a path")
        if text.startswith("s3://"):
            bucket, _, path = text[len("s3://") :].partition("/")
            if not bucket:
                raise UsageError(f"{text}: names no bucket; write s3://bucket/prefix")
            return cls(S3, bucket, path)
        if text.startswith("file://"):
            path = text[len("file://") :]
            if not path.startswith("/"):
                raise UsageError(f"{text}: a file URI needs an absolute path: file:///folder/file")
            return cls(FILE, "", path.rstrip("/") or "/")
        scheme, colon, _ = text.partition("://")
        if colon and "/" not in scheme:
            raise UsageError(f"{text}: {scheme}:// is not supported; use s3://bucket/prefix or a local path")
        return cls(FILE, "", os.path.abspath(Path(text).expanduser()))

    @property
    def prefix(self) -> str:
        """What stands before the keys of this location in its store: '' or something that ends in '/'."""
        if self.scheme == FILE or not self.path:
            return ""
        return self.path if self.path.endswith("/") else self.path + "/"

    def key(self, name: str) -> str:
        """The key, in the store that `open_store` gives for this location, of something below it."""
        return self.prefix + name

    @property
    def root(self) -> str:
        """The location as a folder, one spelling each: `s3://bucket/prefix/` or `file:///absolute/folder/`."""
        if self.scheme == S3:
            return f"s3://{self.bucket}/{self.prefix}"
        return f"file://{self.path.rstrip('/')}/"

    @property
    def uri(self) -> str:
        """The location as it was written: `s3://bucket/path` or `file:///absolute/path`."""
        return f"s3://{self.bucket}/{self.path}" if self.scheme == S3 else f"file://{self.path}"

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder that holds the last segment of the path."""
        head = self.path.rpartition("/")[0]
        if self.scheme == S3:
            return Location(S3, self.bucket, head + "/" if head else "")
        return Location(FILE, "", head or "/")

    @property
    def real_root(self) -> str:
        """As `root`, with the symbolic links of a file location followed: two spellings of a folder have one."""
        if self.scheme == S3:
            return self.root
        return f"file://{os.path.realpath(self.path).rstrip('/')}/"

    def contains(self, other: Location) -> bool:
        """Whether the other location is this one or lies below it, by whichever path it is reached."""
        return other.real_root.startswith(self.real_root)

    def __str__(self) -> str:
        return self.path if self.scheme == FILE else self.uri


def split_uri(uri: str) -> tuple[Location, str]:
    """The location whose store holds an object, and its key there: the whole bucket, or the root folder."""
    if uri.startswith("s3://"):
        bucket, _, key = uri[len("s3://") :].partition("/")
        if bucket and key:
            return Location(S3, bucket, ""), key
    elif uri.startswith("file:///") and len(uri) > len("file:///"):
        return Location(FILE, "", "/"), uri[len("file:///") :]
    raise UsageError(f"{uri}: not the address of an object; write s3://bucket/key or file:///absolute/path")


_open: dict[tuple[object, ...], Store] = {}
_lock = threading.Lock()


def open_store(location: Location, config: JobConfig) -> Store:
    """The store of a location: one for a process, bucket (or folder) and set of store options.

    Its keys are whole keys in the bucket, or paths below the folder: ask `location.key(name)`.
    Raises ForbiddenError when no credentials can be had, StoreError when the options make no sense.
    """
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    place = location.bucket if location.scheme == S3 else location.path
    options = (config.endpoint_url, config.region, config.s3_client, config.fetch_threads)
    # The process is part of the key because connections do not survive a fork; the environment, because it says
    # who and where boto3 is.
    wanted = (os.getpid(), location.scheme, place, options, environment)
    with _lock:
        if wanted not in _open:
            _open[wanted] = _new_store(location, config)
        return _open[wanted]


def _new_store(location: Location, config: JobConfig) -> Store:
    # Imported here: boto3 costs 0.3 s and 40 MB, and a job on local folders needs none of it.
    if location.scheme == FILE:
        from mattemill.pipeline.storage.folder_store import FolderStore

        return FolderStore(Path(location.path))
    from mattemill.pipeline.storage.s3_client import S3Options
    from mattemill.pipeline.storage.s3_store import S3Store

    options = S3Options(endpoint_url=config.endpoint_url, region=config.region, threads=config.fetch_threads)
    store = S3Store(location.bucket, options)
    if config.s3_client == "obstore":
        from mattemill.pipeline.storage.fast_s3_store import FastS3Store

        return FastS3Store(store)
    return store
