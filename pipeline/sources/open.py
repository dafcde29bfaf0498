"""From what a user writes to a source."""

from __future__ import annotations

import os

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import SourceError, StoreError, UsageError
from mattemill.pipeline.sources.folder_source import FolderSource
from mattemill.pipeline.sources.inventory import MANIFEST_NAME, Inventory
from mattemill.pipeline.sources.manifest import Manifest
from mattemill.pipeline.sources.manifest_rows import SUFFIXES
from mattemill.pipeline.sources.source import Source
from mattemill.pipeline.storage.location import FILE, S3, Location, open_store


def open_source(text: str, config: JobConfig, exclude: Location | None = None) -> Source:
    """The source that `s3://bucket/prefix`, a local folder, or a manifest (.parquet, .csv, .jsonl) names.

    `.../manifest.json` is that of an S3 Inventory.
    exclude: the sink of the job; what lies below it is no photograph of this source.
    Raises UsageError when it makes no sense, SourceError when it cannot be reached or is not there.
    """
    location = Location.parse(text)
    is_inventory = location.name == MANIFEST_NAME
    is_manifest = is_inventory or location.name.lower().endswith(SUFFIXES)
    if location.scheme == FILE:
        if not os.path.exists(location.path):
            raise SourceError(f"{location.path}: there is no such file or folder")
        is_manifest = is_manifest and not os.path.isdir(location.path)
        if not is_manifest and not os.path.isdir(location.path):
            raise UsageError(
                f"{location.path}: is neither a folder nor a manifest ({', '.join(SUFFIXES)}); "
                "for a single photograph: mattemill cut"
            )
    try:
        if is_manifest:
            home = location.parent
            if is_inventory:
                return Inventory(
                    location,
                    open_store(home, config),
                    lambda bucket: open_store(Location(S3, bucket, ""), config),
                    exclude,
                )
            return Manifest(location, open_store(home, config), exclude)
        if exclude is not None and exclude.contains(location):
            raise UsageError(
                f"the sink {exclude} holds the source {location}: the next run would take the mattes for photographs; "
                "choose a sink beside the source or below it"
            )
        return FolderSource(location, open_store(location, config), exclude)
    except StoreError as error:
        raise SourceError(f"{location}: {error}") from error
