"""S3, SQS and the events between them, on this machine: a ministack in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

VISIBILITY = 10
"""Seconds: the shortest that `serve` accepts, so that what a killed one held comes back soon."""


class EventServer:
    """A context manager. s3, sqs: boto3 clients of it. environment: with which others reach its S3."""

    def __init__(self) -> None:
        program = shutil.which("ministack", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if program is None:
            pytest.skip("needs ministack, of the extra `dev`, which is not installed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        own = {"GATEWAY_PORT": str(port), "LOG_LEVEL": "ERROR"}
        self._process = subprocess.Popen(
            [program], env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
        self.s3: Any = session.client("s3", endpoint_url=self.url)
        self.sqs: Any = session.client("sqs", endpoint_url=self.url)
        self._wait(port)

    def __enter__(self) -> EventServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)

    def queue(self, name: str, *, visibility: int = VISIBILITY, dead_letters: bool = True) -> str:
        """A new queue's URL."""
        attributes = {"VisibilityTimeout": str(visibility)}
        if dead_letters:
            dead = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
            policy = {"deadLetterTargetArn": self.arn(dead), "maxReceiveCount": 10}
            attributes["RedrivePolicy"] = json.dumps(policy)
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def arn(self, queue: str) -> str:
        return str(self.attributes(queue)["QueueArn"])

    def attributes(self, queue: str) -> dict[str, str]:
        return dict(self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"])

    def messages(self, queue: str) -> tuple[int, int]:
        """(waiting, in flight)."""
        found = self.attributes(queue)
        return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])

    def bucket(self, name: str, queue: str | None = None, prefix: str = "") -> str:
        """A new bucket, whose uploads below a prefix are told to a queue."""
        self.s3.create_bucket(Bucket=name)
        if queue is not None:
            rule = {
                "QueueArn": self.arn(queue),
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
            }
            self.s3.put_bucket_notification_configuration(
                Bucket=name, NotificationConfiguration={"QueueConfigurations": [rule]}
            )
        return name

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("ministack did not start within 30 s")
