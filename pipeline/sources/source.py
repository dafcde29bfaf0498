"""Where image references come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from mattemill.pipeline.photo import ImageRef


class Source(Protocol):
    """A set of photographs that can be listed.

    root: identifies the source between runs; keys are relative to it. `s3://bucket/prefix/` or
    `file:///absolute/folder/`; `s3://` or `file:///` for a manifest of absolute addresses, whose keys are those.
    skipped: what the last listing left out, counted by kind; complete when the listing has ended.
    """

    root: str

    @property
    def skipped(self) -> Mapping[str, int]: ...

    def list(self) -> Iterator[ImageRef]:
        """The photographs, each key once, streamed. Raises SourceError when the source cannot be read."""
