"""An S3 bucket through obstore (Rust): several times the GETs a second of boto3, the same answers and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import obstore
from botocore.exceptions import BotoCoreError, ClientError
from obstore import exceptions
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store as ObstoreS3

from mattemill.pipeline.errors import (
    ChangedObjectError,
    ForbiddenError,
    ObjectTooLargeError,
    StoreError,
)
from mattemill.pipeline.storage.integrity import BodyCheck
from mattemill.pipeline.storage.retry import TransientError, retried
from mattemill.pipeline.storage.s3_client import HOW_CREDENTIALS_ARE_FOUND, meaning_of_answer, s3_session
from mattemill.pipeline.storage.s3_store import S3Store
from mattemill.pipeline.storage.store import Blob, Entry

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")


class FastS3Store:
    """GETs and unconditional PUTs through obstore; the rest, and keys that obstore would rewrite, through boto3.

    Endpoint, region and credentials are those that boto3 finds. Conditional PUTs stay with boto3 because obstore takes
    a 409 (two writers at once, no winner yet) for 'already there'.
    """

    def __init__(self, slow: S3Store) -> None:
        self._slow = slow
        self._policy = slow.options.retry
        self._check = BodyCheck(slow.endpoint)
        self._store = _make(slow)

    def get(self, key: str, *, etag: str | None = None, max_bytes: int | None = None) -> Blob:
        """All bytes of an object, as `Store.get`."""
        if not _is_plain(key):
            return self._slow.get(key, etag=etag, max_bytes=max_bytes)
        what = f"s3://{self._slow.bucket}/{key}"
        seen: set[str] = set()
        return retried(self._policy, what, lambda: self._get_once(key, etag, max_bytes, what, seen))

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        """Write an object whole, as `Store.put`."""
        if if_absent or not _is_plain(key):
            self._slow.put(key, data, content_type=content_type, if_absent=if_absent)
            return
        what = f"s3://{self._slow.bucket}/{key}"

        def put_once() -> None:
            try:
                obstore.put(self._store, key, data, attributes={"Content-Type": content_type}, use_multipart=False)
            except (exceptions.BaseError, OSError) as error:
                raise self._meaning(error, what) from error

        retried(self._policy, what, put_once)

    def head(self, key: str) -> Entry:
        """Size, ETag and time of one object. Raises MissingObjectError."""
        return self._slow.head(key)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[Entry]:
        """Objects under a prefix, as `Store.list`."""
        return self._slow.list(prefix, start_after=start_after)

    def list_many(self, prefix: str) -> Iterator[Entry]:
        """As `S3Store.list_many`."""
        return self._slow.list_many(prefix)

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
        self._slow.delete(key)

    def _get_once(self, key: str, etag: str | None, max_bytes: int | None, what: str, seen: set[str]) -> Blob:
        try:
            options: Any = {"if_match": f'"{etag}"'} if etag is not None else None
            answer = obstore.get(self._store, key, options=options)
            length = answer.meta["size"]
            found = (answer.meta["e_tag"] or "").strip('"')
            if etag is not None and found != etag:  # a store that ignores If-Match
                raise ChangedObjectError(f"{what}: changed since it was listed (was {etag}, is {found})")
            if max_bytes is not None and length > max_bytes:
                raise ObjectTooLargeError(f"{what}: {length} bytes, over the limit of {max_bytes}")
            data = bytes(answer.bytes())
        except (exceptions.BaseError, OSError) as error:
            raise self._meaning(error, what) from error
        self._check.check(data, length, found, seen)
        return Blob(data, found)

    def _meaning(self, error: Exception, what: str) -> StoreError | TransientError:
        text = " ".join(str(error).split("\n\nDebug source:")[0].split())
        code, message = _CODE.search(text), _MESSAGE.search(text)
        said = (code[1] if code else "", message[1] if message else "", what, self._slow.endpoint)
        if found := _STATUS.search(text):
            return meaning_of_answer(int(found[1]), *said)
        for kind, status in _STATUS_OF.items():
            if isinstance(error, kind):
                return meaning_of_answer(status, *said)
        return TransientError(f"{self._slow.endpoint}: {text}")


_STATUS_OF: dict[type[Exception], int] = {
    exceptions.NotFoundError: 404,
    FileNotFoundError: 404,
    exceptions.PermissionDeniedError: 403,
    exceptions.UnauthenticatedError: 401,
    exceptions.PreconditionError: 412,
}


def _is_plain(key: str) -> bool:
    """Whether obstore's path type passes a key on unchanged (it refuses what is not plain)."""
    return not _CONTROL.search(key) and not any(part in ("", ".", "..") for part in key.split("/"))


def _make(slow: S3Store) -> Any:
    options = slow.options
    try:
        provider = Boto3CredentialProvider(s3_session(options))
    except ValueError as error:
        raise ForbiddenError(f"s3://{slow.bucket}: no credentials ({error}); {HOW_CREDENTIALS_ARE_FOUND}") from error
    aws = ".amazonaws.com" in slow.endpoint
    return ObstoreS3(
        slow.bucket,
        config={} if aws else {"endpoint": slow.endpoint},
        region=_region(slow) if aws else (slow.client.meta.region_name or "us-east-1"),
        credential_provider=provider,
        client_options={
            "connect_timeout": timedelta(seconds=options.connect_timeout),
            "read_timeout": timedelta(seconds=options.read_timeout),
            "timeout": timedelta(seconds=options.request_timeout),
            "allow_http": slow.endpoint.startswith("http://"),
            "user_agent": "mattemill",
        },
        retry_config={
            "max_retries": options.attempts - 1,
            "retry_timeout": timedelta(seconds=options.retry.give_up_after),
        },
    )


def _region(slow: S3Store) -> str:
    """The bucket's own region: boto3 follows S3's redirects to it, obstore does not."""
    try:
        answer = slow.client.head_bucket(Bucket=slow.bucket)
    except ClientError as error:  # a 403 names the region too
        answer = error.response
    except BotoCoreError:
        answer = {}
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or slow.client.meta.region_name or "us-east-1")
