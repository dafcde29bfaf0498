"""The bank of layers is let go of after each file of tests: it holds up to 1.2 GB for each seed's samples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mattemill.pipeline.training import bank


@pytest.fixture(scope="module", autouse=True)
def bank_let_go() -> Iterator[None]:
    yield
    bank._layer_cache.clear()
    bank._scene_cache.clear()
