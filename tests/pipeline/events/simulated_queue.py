"""A queue as SQS is, with simulated time: at least once, in any order, hidden for a while and then there again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote_plus

from mattemill.pipeline.events.queue import Message, QueueFacts


@dataclass
class _Lying:
    body: str
    sent: float
    visible_at: float
    receives: int = 0
    receipt: str = ""


class SimulatedQueue:
    """now: seconds; whoever owns the queue moves it on. deleted, lying: by message id."""

    url = "https://sqs.test/1/uploads"

    def __init__(self, visibility: float = 30.0, rng: random.Random | None = None) -> None:
        self.now = 1000.0
        self.visibility = visibility
        self.lying: dict[str, _Lying] = {}
        self.deleted: dict[str, str] = {}
        self.on_delete: Callable[[str], None] = lambda body: None
        self.fails_delete = 0.0
        self.receive_calls = 0
        self._rng = rng or random.Random(0)
        self._ids = count()

    def send(self, body: str, delay: float = 0.0) -> str:
        """A message that is there after `delay` seconds; its id."""
        id = f"m{next(self._ids)}"
        self.lying[id] = _Lying(body, self.now, self.now + delay)
        return id

    def facts(self) -> QueueFacts:
        return QueueFacts("uploads", "arn:aws:sqs:eu-west-1:1:uploads", self.visibility, len(self.lying), 0, 10)

    def receive(self, wait: float) -> Sequence[Message]:
        self.receive_calls += 1
        there = [id for id, lying in self.lying.items() if lying.visible_at <= self.now]
        if not there:
            self.now += wait
            return []
        self._rng.shuffle(there)
        found = []
        for id in there[: self._rng.randint(1, 10)]:
            lying = self.lying[id]
            lying.receives += 1
            lying.receipt = f"{id}#{lying.receives}"
            lying.visible_at = self.now + self.visibility
            found.append(Message(id, lying.receipt, lying.body, lying.sent, lying.receives))
        return found

    def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        again = []
        for receipt in receipts:
            id = receipt.partition("#")[0]
            if self._rng.random() < self.fails_delete:
                again.append(receipt)
            elif id in self.lying and self.lying[id].receipt == receipt:
                body = self.lying.pop(id).body
                self.on_delete(body)
                self.deleted[id] = body
        return again

    def extend(self, receipts: Sequence[str], seconds: float) -> int:
        lost = 0
        for receipt in receipts:
            lying = self.lying.get(receipt.partition("#")[0])
            if lying is None or lying.receipt != receipt or lying.visible_at <= self.now:
                lost += 1
            else:
                lying.visible_at = self.now + seconds
        return lost

    def release(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            lying = self.lying.get(receipt.partition("#")[0])
            if lying is not None and lying.receipt == receipt:
                lying.visible_at = self.now


def s3_record(
    key: str,
    etag: str = "e1",
    sequencer: str = "",
    *,
    bucket: str = "shop",
    name: str = "ObjectCreated:Put",
    size: int = 1000,
    time: str = "2026-11-23T12:00:00.000Z",
) -> dict[str, Any]:
    """A record as S3 sends it: the key encoded as in a form."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": time,
        "eventName": name,
        "s3": {
            "bucket": {"name": bucket},
            "object": {"key": quote_plus(key, safe="/"), "size": size, "eTag": etag, "sequencer": sequencer},
        },
    }


def s3_body(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": list(records)})


def sns_body(inner: str) -> str:
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": inner})


def eventbridge_body(
    key: str, etag: str = "e1", sequencer: str = "", *, bucket: str = "shop", time: str = "2026-11-23T12:00:00Z"
) -> str:
    """An event as EventBridge hands it on: the key as it is."""
    return json.dumps(
        {
            "version": "0",
            "detail-type": "Object Created",
            "source": "aws.s3",
            "time": time,
            "detail": {
                "version": "0",
                "bucket": {"name": bucket},
                "object": {"key": key, "size": 1000, "etag": etag, "sequencer": sequencer},
                "reason": "PutObject",
            },
        }
    )
