"""From created objects to references of photographs, as the source of a `serve` names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.events.notices import Created
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.skipping import Skipping
from mattemill.pipeline.storage.location import S3, Location

OUTSIDE = "outside of the source"


class EventSource:
    """A `Source` that events fill; there is nothing to list.

    root: 's3://' when objects of all buckets are taken: keys are then whole addresses, as in a manifest of those. Or
    that of one prefix: keys are relative to it, and the sink is the one that `run` with this source has.
    """

    def __init__(self, source: Location | None, exclude: Location) -> None:
        """source: a prefix; None takes every bucket. exclude: the sink. Raises UsageError for a local source."""
        if source is not None and source.scheme != S3:
            raise UsageError(f"--source {source}: events are of objects on S3; write s3://bucket/prefix")
        self.root = source.root if source is not None else "s3://"
        self._skipping = Skipping(exclude)

    @property
    def skipped(self) -> Mapping[str, int]:
        """Left out so far, counted by kind."""
        return self._skipping.counts

    def list(self) -> Iterator[ImageRef]:
        """Nothing: photographs come one by one, see `reference`."""
        return iter(())

    def reference(self, created: Created) -> ImageRef | None:
        """The photograph that an event is about; None when it is none, which is counted."""
        uri = f"s3://{created.bucket}/{created.key}"
        if not uri.startswith(self.root):
            self._skipping.count(OUTSIDE)
            return None
        key = uri if self.root == "s3://" else uri[len(self.root) :]
        if not key:
            self._skipping.count("folder marker")
            return None
        if self._skipping.is_output(uri, key) or self._skipping.is_no_image(key):
            return None
        return ImageRef(key, uri, created.etag, created.size)
