"""The boto3 client of this process, and what its errors mean."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ResponseStreamingError,
    SSOError,
    TokenRetrievalError,
)

from mattemill.pipeline.errors import (
    AlreadyThereError,
    ChangedObjectError,
    ForbiddenError,
    MissingObjectError,
    StoreError,
)
from mattemill.pipeline.storage.retry import RetryPolicy, TransientError

HOW_CREDENTIALS_ARE_FOUND = (
    "credentials are found the way boto3 finds them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, "
    "~/.aws/credentials, or the role of the instance, container or pod"
)

_CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_SLOW_CODES = {"ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"}
_TRANSIENT_CODES = {
    "BadDigest",  # the body was damaged on its way there
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_CREDENTIAL_ERRORS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
    ProfileNotFound,
)
_TRANSIENT_ERRORS = (
    HTTPClientError,
    ConnectionError,
    IncompleteReadError,
    ResponseStreamingError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class S3Options:
    """How S3 is talked to; a normal run sets none of them.

    endpoint_url: of an S3-compatible store; None = as boto3 finds it (AWS_ENDPOINT_URL, the profile, AWS).
    region: None = as boto3 finds it, 'us-east-1' where it finds none and an endpoint is given.
    threads: connections that are kept open: as many as there are threads, or they wait for each other.
    connect_timeout, read_timeout: seconds; S3 answers in tens of milliseconds, so that a stalled connection is
    better dropped early. request_timeout: seconds for a request and its whole body, for obstore alone: boto3 has none.
    attempts: of the client itself for one request (boto3's 'standard' mode: 5xx, SlowDown, timeouts); few, because
    each may last read_timeout and they are multiplied by ours. retry: ours around that, for cut and stalled bodies,
    which boto3 never retries, and for storms that use up boto3's quota of retries; how long all of it lasts: there.
    """

    endpoint_url: str | None = None
    region: str | None = None
    threads: int = 16
    connect_timeout: float = 3.0
    read_timeout: float = 8.0
    request_timeout: float = 30.0
    attempts: int = 2
    retry: RetryPolicy = field(default_factory=RetryPolicy)


_clients: dict[tuple[object, ...], tuple[Any, Any]] = {}
_lock = threading.Lock()


def s3_client(options: S3Options) -> Any:
    """The boto3 S3 client for these options: one for a process. Raises ForbiddenError, StoreError."""
    return _session_and_client(options)[1]


def s3_session(options: S3Options) -> Any:
    """The boto3 session behind `s3_client`, which holds the credentials."""
    return _session_and_client(options)[0]


def _session_and_client(options: S3Options) -> tuple[Any, Any]:
    wanted = (os.getpid(), options, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))
    with _lock:  # making sessions is not safe for threads
        if wanted not in _clients:
            _clients[wanted] = _make(options)
        return _clients[wanted]


def _make(options: S3Options) -> tuple[Any, Any]:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        max_pool_connections=options.threads,
        tcp_keepalive=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="mattemill",
    )
    try:
        session = boto3.session.Session()
        region = options.region or session.region_name
        client = session.client("s3", endpoint_url=options.endpoint_url, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise meaning(error, "S3", options.endpoint_url or "") from error
    return session, client


def meaning(error: Exception, what: str, endpoint: str) -> StoreError | TransientError:
    """The error of ours that a boto3 error amounts to. what: the object, for the message."""
    if isinstance(error, ClientError):
        return _meaning_of_answer(error, what, endpoint)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return ForbiddenError(f"{what}: {error}; {HOW_CREDENTIALS_ARE_FOUND}")
    if isinstance(error, NoRegionError):
        return StoreError(f"{what}: no region is known; set AWS_REGION or the job's `region`")
    if isinstance(error, UnicodeEncodeError):
        return MissingObjectError(f"{what!r}: the key is not valid UTF-8, so that S3 cannot hold it")
    if isinstance(error, _TRANSIENT_ERRORS):
        return TransientError(f"{endpoint}: {error}" if endpoint not in str(error) else str(error))
    if isinstance(error, ParamValidationError):
        return StoreError(f"{what}: {' '.join(str(error).split())}")
    return StoreError(f"{what}: {type(error).__name__}: {error}")


def _meaning_of_answer(error: ClientError, what: str, endpoint: str) -> StoreError | TransientError:
    details = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return meaning_of_answer(status, str(details.get("Code", "")), str(details.get("Message", "")), what, endpoint)


def meaning_of_answer(status: int, code: str, text: str, what: str, endpoint: str) -> StoreError | TransientError:
    """The error of ours that an S3 error answer amounts to. code: S3's, or '' where the answer had no body."""
    said = " ".join(part for part in (str(status), code if code != str(status) else "", text) if part)
    if code in _TRANSIENT_CODES or status >= 500 or status in (408, 429):
        slow = code in _SLOW_CODES or status in (429, 503)
        return TransientError(f"{endpoint} answered {said}", "throttled" if slow else "server")
    if code == "NoSuchBucket":
        return MissingObjectError(f"{what}: there is no such bucket at {endpoint}; make it or check the name")
    if code in _CREDENTIAL_CODES:
        return ForbiddenError(f"{what}: {said}; {HOW_CREDENTIALS_ARE_FOUND}")
    if status in (401, 403):
        return ForbiddenError(f"{what}: {said}; the credentials of this job do not allow it (see the IAM policy)")
    if status == 404:
        return MissingObjectError(f"{what}: {said}")
    if status == 412:
        return ChangedObjectError(f"{what}: {said}")
    return StoreError(f"{what}: {said}")


def already_there(what: str) -> AlreadyThereError:
    """For a conditional PUT that found the object there."""
    return AlreadyThereError(f"{what}: is already there")
