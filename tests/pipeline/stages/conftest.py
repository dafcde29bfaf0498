"""Fixtures of the stage tests: real photographs as the fetch stage hands them on, and loaded stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.stages.build import build_stage
from mattemill.pipeline.stages.stage import Stage

MakePhoto = Callable[[bytes], Photo]


def photo_of(data: bytes, key: str = "photo.jpg") -> Photo:
    """A photograph as fetched."""
    return Photo(ImageRef(key, f"file:///{key}"), read_header(data), np.frombuffer(data, np.uint8))


@pytest.fixture(scope="session")
def make_photo() -> MakePhoto:
    """Makes a `Photo` of encoded bytes."""
    return photo_of


@pytest.fixture(scope="session")
def photos(sample_photos: Path) -> dict[str, Photo]:
    """The sample photographs by the stem of their names."""
    return {
        path.stem: photo_of(path.read_bytes(), path.name) for path in sorted(sample_photos.iterdir()) if path.is_file()
    }


_KEPT = 4


@pytest.fixture(scope="module")
def load_stage(u2netp: Path) -> Callable[..., Stage]:
    """Builds a stage once for each name and config, and keeps the latest: each holds 450 MB when it has run."""
    built: dict[tuple[str, JobConfig], Stage] = {}

    def load(name: str, config: JobConfig | None = None) -> Stage:
        key = (name, config if config is not None else JobConfig())
        stage = built.pop(key, None) or build_stage(name, key[1])
        built[key] = stage
        if len(built) > _KEPT:
            del built[next(iter(built))]
        return stage

    return load
