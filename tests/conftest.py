"""Fixtures that every test may use: a real S3 server, and the shared evaluation data where they are."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mattemill.pipeline.models.fetch import fetch_model
from mattemill.pipeline.storage.embedded_server import EmbeddedS3

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process sets up logging for good; the next test must find it as it was."""
    loggers = [logging.getLogger(name) for name in ("mattemill", "__main__")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


_free_buckets: list[str] = []


@pytest.fixture(scope="session")
def s3_server() -> Iterator[EmbeddedS3]:
    """One embedded S3 server for the whole run; most tests want `s3` or `bucket`."""
    with EmbeddedS3() as server:
        yield server


@pytest.fixture
def s3(s3_server: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> EmbeddedS3:
    """The embedded S3 server, with the environment in which boto3 finds it and nothing else."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def s3_client(s3_server: EmbeddedS3) -> Any:
    """A boto3 client of the embedded server, to arrange and inspect buckets with."""
    import boto3

    session = boto3.session.Session(
        aws_access_key_id=s3_server.access_key, aws_secret_access_key=s3_server.secret_key, region_name="us-east-1"
    )
    return session.client("s3", endpoint_url=s3_server.endpoint_url)


@pytest.fixture
def bucket(s3: EmbeddedS3, s3_client: Any) -> Iterator[str]:
    """The name of an empty bucket on the embedded server; emptied and used again, since making one takes seconds."""
    if _free_buckets:
        name = _free_buckets.pop()
    else:
        name = f"test-{os.getpid()}-{next(_numbers)}"
        s3.make_bucket(name)
    yield name
    for page in s3_client.get_paginator("list_objects_v2").paginate(Bucket=name):
        found = [{"Key": item["Key"]} for item in page.get("Contents", ())]
        if found:
            s3_client.delete_objects(Bucket=name, Delete={"Objects": found})
    if not s3_client.list_objects_v2(Bucket=name).get("KeyCount"):
        _free_buckets.append(name)


def _shared(*parts: str) -> Path:
    path = Path(__file__).resolve().parents[2].joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"needs ../shared/{'/'.join(parts)}, which is not here")
    return path


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The `shared` folder beside the repository; the test skips where it is not."""
    return _shared()


@pytest.fixture(scope="session")
def evaldata() -> Path:
    """`../shared/evaldata`; the test skips where it is not."""
    return _shared("evaldata")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """`../shared/models`; the test skips where it is not."""
    return _shared("models")


@pytest.fixture(scope="session")
def u2netp() -> Path:
    """The real default network, in the model cache (fetched by its card when it is not there yet)."""
    return fetch_model("u2netp")


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """The folder of the sample photographs that the repository ships."""
    return Path(__file__).resolve().parent / "samples" / "photos"
