from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.fast_s3_store import FastS3Store
from mattemill.pipeline.storage.folder_store import FolderStore
from mattemill.pipeline.storage.retry import RetryPolicy
from mattemill.pipeline.storage.s3_client import S3Options
from mattemill.pipeline.storage.s3_store import S3Store
from mattemill.pipeline.storage.store import Store

QUICK = RetryPolicy(tries=4, first_delay=0.01, longest_delay=0.05, give_up_after=30.0)


@pytest.fixture(params=["folder", "boto3", "obstore"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    slow = S3Store(request.getfixturevalue("bucket"))
    return slow if request.param == "boto3" else FastS3Store(slow)


@pytest.fixture(params=["boto3", "obstore"])
def store_through(request: pytest.FixtureRequest, bucket: str) -> Callable[[str], Store]:
    """A function from an endpoint to a store of `bucket` there: impatient, one try a request of the client's own."""

    def make(endpoint_url: str, policy: RetryPolicy = QUICK) -> Store:
        options = S3Options(endpoint_url=endpoint_url, connect_timeout=1.0, read_timeout=1.0, attempts=1, retry=policy)
        slow = S3Store(bucket, options)
        return slow if request.param == "boto3" else FastS3Store(slow)

    return make


@pytest.fixture
def direct(bucket: str, s3: EmbeddedS3) -> S3Store:
    """The same bucket without the proxy."""
    return S3Store(bucket, S3Options(endpoint_url=s3.endpoint_url))
