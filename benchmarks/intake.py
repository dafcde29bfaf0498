"""How many messages a second `mattemill serve` takes from a queue, parses, judges, gathers, and deletes when committed.

    python benchmarks/intake.py [--messages 20480] [--json] [--save]

Messages of one S3 record each, all of new photographs, a whole number of shards. A shard is committed as soon as it is
full, so that nothing but the intake is timed, in one thread. `book`: the queue is a list in memory. `sqs`: a ministack
on this machine, a tenth of the messages; both processes share its cores.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any

from bench import REPOSITORY, finish, machine, machine_line, parser

from mattemill.pipeline.events.intake import Intake
from mattemill.pipeline.events.judge import Due
from mattemill.pipeline.events.queue import Message, Queue, QueueFacts
from mattemill.pipeline.events.references import EventSource
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.events.sqs_queue import SqsQueue
from mattemill.pipeline.storage.location import Location

sys.path.insert(0, str(REPOSITORY / "tests"))


SHARD = 256


def bodies(messages: int) -> list[str]:
    """As S3 sends them, about 500 bytes each."""
    return [
        json.dumps(
            {
                "Records": [
                    {
                        "eventVersion": "2.1",
                        "eventSource": "aws:s3",
                        "awsRegion": "eu-central-1",
                        "eventTime": "2026-11-23T12:00:00.000Z",
                        "eventName": "ObjectCreated:Put",
                        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
                        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
                        "s3": {
                            "bucket": {"name": "shop", "arn": "arn:aws:s3:::shop"},
                            "object": {
                                "key": f"photos/2026/11/article+{i:07d}.jpg",
                                "size": 500_000,
                                "eTag": f"{i:032x}",
                                "sequencer": f"{i:016X}",
                            },
                        },
                    }
                ]
            }
        )
        for i in range(messages)
    ]


class ListQueue:
    """Messages in memory, ten a call."""

    url = "memory"

    def __init__(self, messages: Sequence[str]) -> None:
        ids = count()
        self._waiting = deque(Message(f"m{(i := next(ids))}", f"r{i}", body, 0.0) for body in messages)

    def facts(self) -> QueueFacts:
        return QueueFacts("memory", "arn", 120.0, len(self._waiting), 0, 10)

    def receive(self, wait: float) -> Sequence[Message]:
        return [self._waiting.popleft() for _ in range(min(10, len(self._waiting)))]

    def delete(self, receipts: Sequence[str]) -> Sequence[str]:
        return ()

    def extend(self, receipts: Sequence[str], seconds: float) -> int:
        return 0

    def release(self, receipts: Sequence[str]) -> None:
        raise AssertionError("nothing is given back here")


def timed(queue: Queue, messages: int, shard_size: int = SHARD) -> dict[str, Any]:
    """Take all of them. Raises AssertionError when not every one was deleted."""
    intake = Intake(
        queue,
        queue.facts(),
        EventSource(None, Location.parse("s3://mattes")),
        lambda ref: Due(ref, 0),
        lambda ref, generation, failure: None,
        EventSettings(max_age=0.0 if messages < shard_size else 1.0),
        shard_size,
    )
    images = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while intake.stats.deleted < messages:
        intake.step(True)
        while intake.ready:
            shard = intake.ready.popleft()
            images += len(shard.refs)
            intake.committed(ref.key for ref in shard.refs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert images == messages == intake.stats.deleted == intake.stats.committed, (images, intake.stats)
    assert intake.stats.held == 0, intake.stats
    return {
        "messages": messages,
        "seconds": round(wall, 3),
        "messages_per_second": round(messages / wall, 1),
        "cpu_ms_per_message": round(1000 * cpu / messages, 4),
    }


def from_server(messages: int) -> dict[str, Any]:
    """The same from a real server, filled before the clock starts."""
    from event_server import EventServer

    with EventServer() as server:
        os.environ.update(server.environment)
        url = server.queue("bench", visibility=120)
        texts = bodies(messages)
        for start in range(0, messages, 10):
            entries = [{"Id": str(i), "MessageBody": text} for i, text in enumerate(texts[start : start + 10])]
            server.sqs.send_message_batch(QueueUrl=url, Entries=entries)
        result = timed(SqsQueue(url), messages)
        assert server.messages(url) == (0, 0), server.messages(url)
        return result


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--messages", type=int, default=20_480)
    args = options.parse_args()
    here = machine()
    result: dict[str, Any] = {"machine": here, "shard_size": SHARD}
    result["book"] = timed(ListQueue(bodies(args.messages)), args.messages)
    result["sqs"] = from_server(max(1, args.messages // 10 // SHARD) * SHARD)
    lines = [machine_line(here)]
    for name in ("book", "sqs"):
        row = result[name]
        lines.append(
            f"{name}: {row['messages_per_second']:,.0f} messages/s, {row['cpu_ms_per_message']} ms of CPU each"
        )
    finish("intake", result, args, lines)


if __name__ == "__main__":
    main()
