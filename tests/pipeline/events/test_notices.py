"""What the bodies of messages say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from simulated_queue import eventbridge_body, s3_body, s3_record, sns_body

from mattemill.pipeline.events.notices import EVENTBRIDGE, S3_NOTIFICATION, Created, read_notices
from mattemill.pipeline.ledger.outcome_file import shard_table
from mattemill.pipeline.outcome import Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import make_shard

ODD = "photos/a b+c%2B/ü 100%.jpg"
TEST_EVENT = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "shop"})


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (s3_body(s3_record(ODD, "e1", "0A")), S3_NOTIFICATION),
        (sns_body(s3_body(s3_record(ODD, "e1", "0A"))), S3_NOTIFICATION),
        (s3_body(s3_record(ODD, '"e1"', "0A", name="s3:ObjectCreated:CompleteMultipartUpload")), S3_NOTIFICATION),
        (eventbridge_body(ODD, "e1", "0A"), EVENTBRIDGE),
        (sns_body(eventbridge_body(ODD, "e1", "0A")), EVENTBRIDGE),
    ],
    ids=["s3", "sns", "another store's name", "eventbridge", "eventbridge through sns"],
)
def test_every_form_of_an_event_names_the_same_object(body: str, form: str) -> None:
    notices = read_notices(body)
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
    assert notices.created == [Created("shop", ODD, "e1", 1000, noon, "0A", form)]
    assert (notices.ignored, notices.bad) == ({}, [])


def test_all_records_of_a_message_are_read() -> None:
    notices = read_notices(s3_body(s3_record("a.jpg"), s3_record("b.jpg"), s3_record("c.jpg")))
    assert [created.key for created in notices.created] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("body", "ignored"),
    [
        (TEST_EVENT, {"s3:TestEvent": 1}),
        (sns_body(TEST_EVENT), {"s3:TestEvent": 1}),
        (s3_body(s3_record("a.jpg", name="ObjectRemoved:Delete")), {"ObjectRemoved:Delete": 1}),
        (s3_body(*[s3_record("a.jpg", name="s3:ObjectTagging:Put")] * 2), {"ObjectTagging:Put": 2}),
        (json.dumps({"detail-type": "Object Deleted", "source": "aws.s3"}), {"EventBridge Object Deleted": 1}),
        (json.dumps({"detail-type": "Object Created", "source": "my.app"}), {"EventBridge Object Created": 1}),
        (s3_body(), {}),
    ],
)
def test_what_is_no_creation_is_counted_and_nothing_more(body: str, ignored: dict[str, int]) -> None:
    notices = read_notices(body)
    assert (notices.created, notices.ignored, notices.bad) == ([], ignored, [])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "a list and no event"),
        ("null", "a NoneType and no event"),
        ("{}", "it has nothing"),
        ('{"job": 7}', "it has job, and neither Records nor detail-type"),
        (sns_body("hello"), "Message is no JSON"),
        (sns_body("3"), "a int and no event"),
        (sns_body(sns_body(sns_body(sns_body(sns_body("{}"))))), "no event of S3"),
        ('{"Records": [7]}', "a record without eventName"),
        ('{"Records": [{"eventName": "ObjectCreated:Put"}]}', "cannot be read"),
        (s3_body(s3_record("")), "cannot be read"),
        ('{"detail-type": "Object Created", "source": "aws.s3", "detail": []}', "cannot be read"),
        (eventbridge_body("a\ud800.jpg"), "surrogates not allowed"),
        (s3_body(s3_record("a.jpg", etag="e\ud800")), "surrogates not allowed"),
        (eventbridge_body("a.jpg", bucket="s\udc80"), "surrogates not allowed"),
        (eventbridge_body("a.jpg", bucket="/shop"), "no name of a bucket"),
        (json.dumps({"Records": [{"eventName": "ObjectCreated:\ud800", "s3": 3}]}), "ObjectCreated:\\ud800"),
        (json.dumps({"\ud800": 3}), "it has \\ud800"),
    ],
)
def test_what_cannot_be_understood_is_said_and_never_raised(body: str, why: str) -> None:
    notices = read_notices(body)
    assert notices.created == []
    assert why in " ".join(notices.bad)
    assert "".join(notices.bad).encode(), "it can stand in a row"


def test_what_is_ignored_can_be_told_whatever_it_is_called() -> None:
    notices = read_notices(json.dumps({"detail-type": "\ud800", "source": "aws.s3"}))
    assert notices.ignored == {"EventBridge \\ud800": 1}


@pytest.mark.parametrize("body", [eventbridge_body("a\udc80.jpg"), s3_body(s3_record("a.jpg", size=10**20))])
def test_whatever_is_taken_from_a_message_can_be_committed(body: str) -> None:
    (created,) = read_notices(body).created
    shard = make_shard([ImageRef(created.key, f"s3://shop/{created.key}", created.etag, created.size)])
    failure = Failure(Reason.MISSING, "fetch", "gone")
    assert shard_table(shard, {created.key: failure}, datetime.now(UTC)).num_rows == 1


def test_the_good_records_of_a_message_count_though_one_is_bad() -> None:
    broken: dict[str, Any] = {"eventName": "ObjectCreated:Put", "s3": {}}
    notices = read_notices(s3_body(s3_record("a.jpg"), broken, s3_record("b.jpg")))
    assert [created.key for created in notices.created] == ["a.jpg", "b.jpg"]
    assert len(notices.bad) == 1


def test_fields_that_an_event_lacks_are_unknown() -> None:
    record = s3_record("a.jpg", time="yesterday")
    record["s3"]["object"] = {"key": "a.jpg", "size": "big"}
    assert read_notices(s3_body(record)).created == [Created("shop", "a.jpg")]


@pytest.mark.parametrize(
    ("mine", "theirs", "older"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6", True),
        ("0055AED6DCD90281E6", "0055AED6DCD90281E5", False),
        ("0055aed6", "0055AED7", True),
        ("0055AED6", "0055AED6DC", True),  # the shorter is filled up on its right
        ("0055AED6", "0055AED600", False),
        ("1", "09", False),
        ("0A", "0A", False),
        ("", "0A", False),
        ("0", "0A", False),  # some stores send nothing else
        ("0A", "", False),
    ],
)
def test_sequencers_order_the_events_of_a_key(mine: str, theirs: str, older: bool) -> None:
    one, other = (Created("shop", "a.jpg", sequencer=text) for text in (mine, theirs))
    assert one.is_older_than(other) is older


def test_sequencers_of_different_forms_are_not_compared() -> None:
    one = Created("shop", "a.jpg", sequencer="0A")
    assert not one.is_older_than(Created("shop", "a.jpg", sequencer="0B", form=EVENTBRIDGE))
