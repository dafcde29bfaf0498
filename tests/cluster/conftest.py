"""Fixtures of the cluster's tests: a Ray for a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A local Ray for the tests of one module, which jobs in this process use; stand-in stages can be imported."""
    from mattemill.cluster.ray_start import ray_running

    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    with ray_running(None, workers=5, gpus=0, store_bytes=400 * 2**20):
        yield
