"""The queue behind its interface, against a real server of the protocol; and what the server's errors become."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber
from event_server import EventServer

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.events.errors import QueueAwayError, QueueError
from mattemill.pipeline.events.notices import read_notices
from mattemill.pipeline.events.sqs_queue import SqsQueue


@pytest.fixture(scope="module")
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        yield server


@pytest.fixture
def queue(server: EventServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> SqsQueue:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return SqsQueue(server.queue(f"q{abs(hash(request.node.name))}"))


def send(server: EventServer, queue: SqsQueue, n: int) -> None:
    for i in range(n):
        server.sqs.send_message(QueueUrl=queue.url, MessageBody=f"m{i}")


def test_messages_are_received_hidden_and_deleted(server: EventServer, queue: SqsQueue) -> None:
    send(server, queue, 25)
    found = []
    while batch := queue.receive(0):
        found += batch
    assert {message.body for message in found} == {f"m{i}" for i in range(25)}
    assert all(message.receives == 1 and abs(message.sent - time.time()) < 60 for message in found)
    assert queue.facts().in_flight == 25
    assert list(queue.delete([message.receipt for message in found])) == []
    facts = queue.facts()
    assert (facts.waiting, facts.in_flight) == (0, 0)


def test_what_is_released_comes_back_at_once_and_counts_its_receives(server: EventServer, queue: SqsQueue) -> None:
    send(server, queue, 12)
    first = [message for _ in range(2) for message in queue.receive(1)]
    queue.release([message.receipt for message in first])
    again = [message for _ in range(2) for message in queue.receive(1)]
    assert len(first) == len(again) == 12
    assert {message.id for message in again} == {message.id for message in first}
    assert {message.receives for message in again} == {2}


def test_holds_are_renewed_and_those_that_are_lost_are_counted(server: EventServer, queue: SqsQueue) -> None:
    send(server, queue, 1)
    (message,) = queue.receive(1)
    queue.extend([message.receipt], 1)
    time.sleep(1.2)
    (again,) = queue.receive(1)
    assert again.id == message.id
    queue.delete([again.receipt])
    assert queue.extend([again.receipt, "nonsense"], 30) == 2
    assert list(queue.delete(["nonsense"])) == [], "a receipt that is void is not tried again"


def test_the_queue_says_what_it_is(queue: SqsQueue) -> None:
    facts = queue.facts()
    assert facts.arn.endswith(f":{facts.name}")
    assert (facts.visibility, facts.dead_letter_after) == (10.0, 10)


def test_an_upload_arrives_as_an_event(server: EventServer, queue: SqsQueue) -> None:
    server.bucket("shop", queue.url, prefix="photos/")
    tag = server.s3.put_object(Bucket="shop", Key="photos/a.jpg", Body=b"x")["ETag"].strip('"')
    bodies = [read_notices(message.body) for message in queue.receive(1)]
    assert [ignored for notices in bodies for ignored in notices.ignored] == ["s3:TestEvent"]
    (created,) = [created for notices in bodies for created in notices.created]
    assert (created.bucket, created.key, created.etag, created.size) == ("shop", "photos/a.jpg", tag, 1)
    assert created.time is not None
    assert abs(created.time - time.time()) < 60


def test_a_queue_that_does_not_exist_is_said_to(queue: SqsQueue) -> None:
    with pytest.raises(QueueError, match="there is no such queue") as caught:
        SqsQueue(queue.url + "-not").facts()
    assert not isinstance(caught.value, QueueAwayError)


@pytest.mark.parametrize(
    ("code", "status", "away", "text"),
    [
        ("AccessDenied", 403, False, "IAM policy"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, False, "no such queue"),
        ("ExpiredToken", 403, False, "credentials are found"),
        ("OverLimit", 403, True, "OverLimit"),
        ("RequestThrottled", 403, True, "RequestThrottled"),
        ("InternalError", 500, True, "500"),
        ("ServiceUnavailable", 503, True, "503"),
    ],
)
def test_errors_are_final_or_worth_another_try(queue: SqsQueue, code: str, status: int, away: bool, text: str) -> None:
    client: Any = queue._client
    with Stubber(client) as stub:
        for _ in range(3):  # the client itself tries again
            stub.add_client_error("receive_message", code, "said so", http_status_code=status)
        with pytest.raises(QueueError, match=text) as caught:
            queue.receive(1)
    assert isinstance(caught.value, QueueAwayError) is away


@pytest.mark.usefixtures("queue")
def test_a_server_that_is_not_there_is_away() -> None:
    with pytest.raises(QueueAwayError):
        SqsQueue("http://127.0.0.1:9/1/q", "eu-west-1").receive(0)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-central-1.amazonaws.com/1/q", "eu-central-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://vpce-1.sqs.us-west-2.vpce.amazonaws.com/1/q", "us-west-2"),
        ("https://ap-south-1.queue.amazonaws.com/1/q", "ap-south-1"),
        ("http://localhost:4566/1/q", "sa-east-1"),
    ],
)
def test_the_region_is_that_of_the_url(url: str, region: str) -> None:
    assert SqsQueue(url, "sa-east-1")._client.meta.region_name == region


@pytest.mark.parametrize("url", ["uploads", "sqs://q", "https://sqs.eu-west-1.amazonaws.com", "arn:aws:sqs:x:1:q"])
def test_what_is_no_url_of_a_queue_is_wrong_use(url: str) -> None:
    with pytest.raises(UsageError, match="write the URL of the queue"):
        SqsQueue(url)
