"""The CloudFormation template: linted, deployed against a local server, and its role held to the code's calls."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from botocore import xform_name
from event_server import EventServer
from manifests import INFRA, built, program, settings, yaml
from PIL import Image

from mattemill.pipeline.events.checks import check_queue
from mattemill.pipeline.events.notices import read_notices
from mattemill.pipeline.events.queue import QueueFacts
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.events.sqs_queue import SqsQueue
from mattemill.pipeline.ledger.layout import layout_below
from mattemill.pipeline.storage.location import Location

TEMPLATE = INFRA / "cloudformation" / "storage.yaml"
ROOT = INFRA.parent

ACTION_OF = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "head_bucket": "s3:ListBucket",
    "get_bucket_notification_configuration": "s3:GetBucketNotification",
    "receive_message": "sqs:ReceiveMessage",
    "delete_message_batch": "sqs:DeleteMessage",
    "change_message_visibility_batch": "sqs:ChangeMessageVisibility",
    "get_queue_attributes": "sqs:GetQueueAttributes",
}
"""What a call needs: Service Authorization Reference, 'Actions, resources, and condition keys' of S3 and SQS."""

NOT_ON_AWS = {"embedded_server.py"}  # makes the buckets of the demo's own server


class _Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
    """Reads !Ref, !Sub and the others as their text."""


_LOADER_SAYS: Any = _Loader
_LOADER_SAYS.add_multi_constructor(
    "!",
    lambda loader, tag, node: (
        f"!{tag} {node.value}" if isinstance(node, yaml.ScalarNode) else loader.construct_sequence(node, deep=True)
    ),
)


def resources() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader=_Loader)["Resources"]
    return found


def statements() -> list[dict[str, Any]]:
    """Of the role's policy, with lists of actions and resources."""
    (policy,) = resources()["WorkerRole"]["Properties"]["Policies"]
    listed = []
    for statement in policy["PolicyDocument"]["Statement"]:
        both = {
            name: [statement[name]] if isinstance(statement[name], str) else statement[name]
            for name in ("Action", "Resource")
        }
        listed.append({**statement, **both})
    return listed


def calls() -> dict[str, set[str]]:
    """Operations of S3 and SQS that the code calls, with the files that do."""
    known = {
        xform_name(name)
        for service in ("s3", "sqs")
        for name in boto3.client(service, region_name="us-east-1").meta.service_model.operation_names
    }
    found: dict[str, set[str]] = {}
    for path in (path for folder in ("pipeline", "cluster") for path in (ROOT / folder).rglob("*.py")):
        if path.name in NOT_ON_AWS:
            continue
        text = path.read_text(encoding="utf-8")
        for first, second in re.findall(r"client\.(\w+)\(|\b_(?:call|batches)\(\s*\"(\w+)\"", text):
            if (name := first or second) in known:
                found.setdefault(name, set()).add(path.name)
    return found


def test_the_role_allows_the_calls_that_the_code_makes_and_nothing_else() -> None:
    called = calls()
    assert len(called) >= 10, "the search for calls finds too little: has their form changed?"
    assert set(called) <= set(ACTION_OF), "a new call: say which action it needs, and add that to WorkerRole"
    allowed = {action for statement in statements() for action in statement["Action"]}
    assert allowed == {ACTION_OF[name] for name in called}


def test_no_statement_of_the_role_is_wider_than_a_bucket_or_a_queue() -> None:
    for statement in statements():
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            assert "*" not in action
        for resource in statement["Resource"]:
            assert re.match(r"!(GetAtt|Sub) \W*(PhotographsBucket|MattesBucket|UploadsQueue)\b", resource), resource


def test_photographs_are_only_read_and_of_the_mattes_only_the_ledger_is() -> None:
    def actions_on(start: str) -> set[str]:
        return {
            action for each in statements() for action in each["Action"] if any(start in r for r in each["Resource"])
        }

    assert actions_on("PhotographsBucket") == {"s3:ListBucket", "s3:GetObject"}
    (ledger,) = [each for each in statements() if each["Sid"] == "ReadTheLedger"]
    assert ledger["Resource"] == ["!Sub ${MattesBucket.Arn}/*_mattemill/*"]


def test_previews_of_both_sinks_of_the_manifests_are_deleted_after_their_days() -> None:
    rules = resources()["MattesBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    prefixes = {
        rule["Prefix"].removeprefix("!Sub ").replace("${UploadsPrefix}", "uploads/")
        for rule in rules
        if "ExpirationInDays" in rule
    }
    sinks = [Location.parse(settings()[name]) for name in ("CATALOGUE_SINK", "UPLOADS_SINK")]
    assert prefixes == {layout_below(sink.prefix).failures for sink in sinks}


def test_the_template_is_clean_for_cfn_lint(tmp_path: Path) -> None:
    lint = program("cfn-lint")
    wrong = tmp_path / "wrong.yaml"
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeOut": 120}}
    wrong.write_text(yaml.safe_dump({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Queue": queue}}))
    done = subprocess.run([lint, "--format", "parseable", str(TEMPLATE), str(wrong)], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith(str(wrong))] == []
    assert any("VisibilityTimeOut" in line for line in lines)


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[EventServer, dict[str, str]]]:
    """A server with the stack deployed, and its outputs."""
    with EventServer() as server:
        cloud = boto3.session.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        ).client("cloudformation", endpoint_url=server.url)
        cloud.create_stack(
            StackName="mattemill",
            TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": "Photographs", "ParameterValue": "shop-photographs"},
                {"ParameterKey": "Mattes", "ParameterValue": "shop-mattes"},
            ],
        )
        deadline = time.monotonic() + 30
        while True:
            (found,) = cloud.describe_stacks(StackName="mattemill")["Stacks"]
            if found["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert found["StackStatus"] == "CREATE_COMPLETE", found.get("StackStatusReason")
        yield server, {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}


def test_an_upload_comes_out_of_the_stacks_queue_as_an_event(
    stack: tuple[EventServer, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, outputs = stack
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.s3.put_object(Bucket="shop-photographs", Key="elsewhere/b.jpg", Body=b"no event")
    server.s3.put_object(Bucket="shop-photographs", Key="uploads/red shoe.jpg", Body=b"pixels")
    queue = SqsQueue(outputs["QueueUrl"], "us-east-1")
    created, deadline = [], time.monotonic() + 10
    while not created and time.monotonic() < deadline:
        for message in queue.receive(1.0):
            notices = read_notices(message.body)
            assert notices.bad == []
            created += notices.created
    assert [(each.bucket, each.key, each.size) for each in created] == [("shop-photographs", "uploads/red shoe.jpg", 6)]


def services_command(**values: str) -> list[str]:
    """What the container of the service runs, with these for the settings of base/settings.env."""
    (deployment,) = [each for each in built("cpu") if each["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for name, value in values.items():
        assert f"$({name})" in container["args"]
        container["args"] = [word.replace(f"$({name})", value) for word in container["args"]]
    assert "command" not in container, "then it is no longer mattemill's own"
    return [sys.executable, "-m", "mattemill.cluster.cli.main", *container["args"]]


@pytest.mark.slow
def test_the_services_command_takes_uploads_to_mattes_in_the_stacks_buckets(
    stack: tuple[EventServer, dict[str, str]], u2netp: Path, sample_photos: Path, tmp_path: Path
) -> None:
    server, outputs = stack
    server.sqs.purge_queue(QueueUrl=outputs["QueueUrl"])  # of what another test has put there
    command = services_command(
        UPLOADS_QUEUE=outputs["QueueUrl"],
        UPLOADS_SOURCE="s3://shop-photographs/uploads/",
        UPLOADS_SINK="s3://shop-mattes/uploads/",
    )
    photo = (sample_photos / "catalogue" / "mug.jpg").read_bytes()
    server.s3.put_object(Bucket="shop-photographs", Key="uploads/mug.jpg", Body=photo)
    server.s3.put_object(Bucket="shop-photographs", Key="uploads/note.jpg", Body=b"no photograph")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    log = tmp_path / "log"
    with log.open("w") as out:
        service = subprocess.Popen(
            command, stdout=out, stderr=out, env={**environment, **server.environment}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 150
        while len(rows := ended(server)) < 2:
            assert service.poll() is None, f"it ended by itself: {log.read_text()}"
            assert time.monotonic() < deadline, f"no outcome in 150 s: {log.read_text()}"
            time.sleep(0.2)
        service.send_signal(signal.SIGTERM)
        assert service.wait(120) == 0, log.read_text()
    finally:
        service.kill()

    assert {key: row["reason"] for key, row in rows.items()} == {"mug.jpg": None, "note.jpg": "unsupported_type"}
    body = server.s3.get_object(Bucket="shop-mattes", Key=rows["mug.jpg"]["output_key"])["Body"].read()
    alpha = np.asarray(Image.open(io.BytesIO(body)).split()[-1])
    assert (alpha.min(), alpha.max()) == (0, 255)
    assert alpha.shape == np.asarray(Image.open(io.BytesIO(photo))).shape[:2]
    left = server.sqs.get_queue_attributes(QueueUrl=outputs["QueueUrl"], AttributeNames=["All"])["Attributes"]
    assert {left["ApproximateNumberOfMessages"], left["ApproximateNumberOfMessagesNotVisible"]} == {"0"}


def ended(server: EventServer) -> dict[str, dict[str, Any]]:
    """The rows of the uploads' sink by key, read past mattemill's own code."""
    found: dict[str, dict[str, Any]] = {}
    for item in server.s3.list_objects_v2(Bucket="shop-mattes").get("Contents", ()):
        if "/outcomes/" in item["Key"]:
            body = server.s3.get_object(Bucket="shop-mattes", Key=item["Key"])["Body"].read()
            for row in pq.ParquetFile(io.BytesIO(body)).read(["key", "reason", "output_key"]).to_pylist():
                assert row["key"] not in found, "a doubled row"
                found[row["key"]] = row
    return found


# ministack makes the queues without their RedrivePolicy and the buckets without their encryption and access block (it
# answers for all buckets as AWS does by default), so that these are read from the template.


def test_the_queue_is_one_that_the_service_has_nothing_to_say_against() -> None:
    wanted = resources()["UploadsQueue"]["Properties"]
    redrive = wanted["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == "!GetAtt UploadsDeadLetters.Arn"
    facts = QueueFacts("uploads", "arn", wanted["VisibilityTimeout"], 0, 0, redrive["maxReceiveCount"])
    assert check_queue(facts, EventSettings()) == []
    assert check_queue(replace(facts, dead_letter_after=EventSettings().max_receives), EventSettings())


def test_buckets_are_encrypted_closed_and_reached_by_tls_only() -> None:
    found = resources()
    closed = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True)
    for bucket, policy in (("PhotographsBucket", "OnlyByTls"), ("MattesBucket", "MattesOnlyByTls")):
        properties = found[bucket]["Properties"]
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert properties["PublicAccessBlockConfiguration"] == closed
        assert found[bucket]["DeletionPolicy"] == "Retain"
        said = found[policy]["Properties"]
        (statement,) = said["PolicyDocument"]["Statement"]
        assert said["Bucket"] == f"!Ref {bucket}"
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    for queue in ("UploadsQueue", "UploadsDeadLetters"):
        assert found[queue]["Properties"]["SqsManagedSseEnabled"] is True
