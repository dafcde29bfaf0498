"""A queue of Amazon SQS, or of a server that speaks its protocol, through boto3."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mattemill.pipeline.errors import StoreError, UsageError
from mattemill.pipeline.events.errors import QueueAwayError, QueueError
from mattemill.pipeline.events.queue import Message, QueueFacts
from mattemill.pipeline.storage.retry import TransientError
from mattemill.pipeline.storage.s3_client import meaning

_BATCH = 10  # messages in one call, at most: SQS' own limit
_THREADS = 4  # concurrent calls: a shard of 256 is 26 deletions of about 10 ms each
_REGION = re.compile(r"(?:^|\.)sqs\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.")
_NOT_THERE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}
_PATIENCE = {"OverLimit", "RequestThrottled", "KmsThrottled", "KMS.ThrottlingException"}


class SqsQueue:
    """The queue behind a URL. Safe for several threads."""

    def __init__(self, url: str, region: str | None = None) -> None:
        """region: of the signature; None = as the URL says, then as boto3 finds it. Raises UsageError, QueueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or not parts.path.strip("/"):
            raise UsageError(
                f"--queue {url}: write the URL of the queue, https://sqs.<region>.amazonaws.com/<account>/<name>"
            )
        self.url = url
        self._name = parts.path.rstrip("/").rpartition("/")[2]
        found = _REGION.search(parts.netloc)
        endpoint = f"{parts.scheme}://{parts.netloc}"
        self._endpoint = endpoint
        # A long poll is silent for up to 20 s.
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 3},
            connect_timeout=3.0,
            read_timeout=30.0,
            max_pool_connections=_THREADS + 1,
            tcp_keepalive=True,
            user_agent_extra="mattemill",
        )
        try:
            session = boto3.session.Session()
            said = (found[1] or found[2]) if found else None
            self._client: Any = session.client(
                "sqs",
                endpoint_url=endpoint,
                region_name=said or region or session.region_name or "us-east-1",
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise self._meaning(error) from error
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mattemill-queue")

    def facts(self) -> QueueFacts:
        """As `Queue.facts`. Needs sqs:GetQueueAttributes."""
        values = self._call("get_queue_attributes", AttributeNames=["All"])["Attributes"]
        redrive = json.loads(values.get("RedrivePolicy") or "{}")
        after = redrive.get("maxReceiveCount")
        return QueueFacts(
            name=self._name,
            arn=values.get("QueueArn", ""),
            visibility=float(values.get("VisibilityTimeout", 30)),
            waiting=int(values.get("ApproximateNumberOfMessages", 0)),
            in_flight=int(values.get("ApproximateNumberOfMessagesNotVisible", 0)),
            dead_letter_after=int(after) if after is not None else None,
        )

    def receive(self, wait: float) -> Sequence[Message]:
        """As `Queue.receive`; SQS counts whole seconds, up to 20. Needs sqs:ReceiveMessage."""
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=_BATCH,
            WaitTimeSeconds=min(20, ceil(wait)),
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        messages = []
        for item in answer.get("Messages", ()):
            said = item.get("Attributes", {})
            sent, receives = int(said.get("SentTimestamp", 0)) / 1000, int(said.get("ApproximateReceiveCount", 1))
            messages.append(Message(item["MessageId"], item["ReceiptHandle"], item["Body"], sent, receives))
        return messages

    def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        """As `Queue.delete`. Needs sqs:DeleteMessage."""
        return [receipt for receipt, code in self._batches("delete_message_batch", receipts, {}) if code == "again"]

    def extend(self, receipts: Sequence[str], seconds: float) -> int:
        """As `Queue.extend`. Needs sqs:ChangeMessageVisibility."""
        hidden = {"VisibilityTimeout": round(seconds)}
        return len(self._batches("change_message_visibility_batch", receipts, hidden))

    def release(self, receipts: Sequence[str]) -> None:
        """As `Queue.release`; what cannot be released comes back by itself."""
        self._batches("change_message_visibility_batch", receipts, {"VisibilityTimeout": 0})

    def _batches(self, operation: str, receipts: Sequence[str], more: dict[str, Any]) -> list[tuple[str, str]]:
        """(receipt, 'again' or 'void') of those that failed, 'void' being the fault of the receipt."""

        def one(batch: Sequence[str]) -> list[tuple[str, str]]:
            entries = [{"Id": str(i), "ReceiptHandle": receipt, **more} for i, receipt in enumerate(batch)]
            failed = self._call(operation, Entries=entries).get("Failed", ())
            return [(batch[int(item["Id"])], "void" if item.get("SenderFault") else "again") for item in failed]

        batches = [receipts[i : i + _BATCH] for i in range(0, len(receipts), _BATCH)]
        run: Callable[..., Iterable[list[tuple[str, str]]]] = self._pool.map if len(batches) > 1 else map
        return [failure for failures in run(one, batches) for failure in failures]

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(QueueUrl=self.url, **arguments)
        except (BotoCoreError, ClientError, OSError) as error:
            raise self._meaning(error) from error

    def _meaning(self, error: Exception) -> QueueError:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        if code in _NOT_THERE:
            return QueueError(f"{self.url}: there is no such queue; check the name, the account and the region")
        if code in _PATIENCE:
            return QueueAwayError(f"{self.url}: {error}")
        ours: StoreError | TransientError = meaning(error, self.url, self._endpoint)
        if isinstance(ours, TransientError):
            return QueueAwayError(f"{self.url}: {ours}")
        return QueueError(str(ours))
