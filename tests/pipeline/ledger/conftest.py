"""The stores on which the ledger is tested: in memory, a folder, a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_case import Clock
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.storage.location import Location, open_store
from mattemill.pipeline.storage.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store in turn."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return open_store(Location.parse(str(tmp_path)), JobConfig())
    return open_store(Location.parse(f"s3://{request.getfixturevalue('bucket')}"), JobConfig())
