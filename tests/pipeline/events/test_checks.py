"""What is refused, and what is warned of, before anything is received."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.events.checks import check_notifications, check_queue, check_sink
from mattemill.pipeline.events.errors import QueueError
from mattemill.pipeline.events.queue import QueueFacts
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.storage.location import Location

GOOD = QueueFacts("uploads", "arn:aws:sqs:eu-west-1:1:uploads", 120.0, 0, 0, 10)


def test_a_good_queue_has_no_warnings() -> None:
    assert check_queue(GOOD, EventSettings()) == []


def test_a_queue_that_hides_messages_too_shortly_is_refused() -> None:
    with pytest.raises(QueueError, match="visibility timeout of 5 s is too short"):
        check_queue(replace(GOOD, visibility=5.0), EventSettings())


def test_a_queue_without_dead_letters_is_warned_of() -> None:
    (warning,) = check_queue(replace(GOOD, dead_letter_after=None), EventSettings())
    assert "has no dead-letter queue" in warning


def test_a_queue_that_gives_up_before_we_do_is_warned_of() -> None:
    (warning,) = check_queue(replace(GOOD, dead_letter_after=5), EventSettings(max_receives=5))
    assert "leave no failure row" in warning
    assert check_queue(replace(GOOD, dead_letter_after=6), EventSettings(max_receives=5)) == []


@pytest.mark.parametrize(
    ("sink", "source", "refused"),
    [
        ("s3://shop/mattes", "s3://shop/photos", False),
        ("s3://shop/photos-mattes", "s3://shop/photos", False),
        ("s3://mattes/photos", "s3://shop/photos", False),
        ("s3://shop/photos/mattes", "s3://shop/photos", True),
        ("s3://shop/photos", "s3://shop/photos/", True),
        ("s3://shop", "s3://shop/photos", True),
        ("s3://shop/mattes", "s3://shop", True),
        ("/mattes", "s3://shop", False),
        ("s3://shop", None, False),
    ],
)
def test_a_sink_and_a_source_that_lie_in_each_other_are_refused(sink: str, source: str | None, refused: bool) -> None:
    places = Location.parse(sink), Location.parse(source) if source else None
    if refused:
        with pytest.raises(UsageError, match="without end"):
            check_sink(*places)
    else:
        check_sink(*places)


def rule(prefix: str = "", suffix: str = "", arn: str = GOOD.arn, event: str = "s3:ObjectCreated:*") -> dict[str, Any]:
    filters = [{"Name": "prefix", "Value": prefix}, {"Name": "Suffix", "Value": suffix}]
    return {"QueueArn": arn, "Events": [event], "Filter": {"Key": {"FilterRules": filters}}}


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ([], False),
        ([rule("photos/")], False),
        ([rule()], True),
        ([{"QueueArn": GOOD.arn, "Events": ["s3:ObjectCreated:Put"]}], True),
        ([rule("photos/"), rule("matt")], True),
        ([rule("mattes/out/_mattemill/")], True),
        ([rule(suffix=".jpg")], False),
        ([rule(suffix=".png")], True),
        ([rule(suffix=".jpg.png")], True),
        ([rule(arn="arn:aws:sqs:eu-west-1:1:other")], False),
        ([rule(event="s3:ObjectRemoved:*")], False),
    ],
)
def test_a_bucket_that_tells_the_queue_of_its_mattes_is_refused(rules: list[dict[str, Any]], refused: bool) -> None:
    sink = Location.parse("s3://shop/mattes/out")
    if refused:
        with pytest.raises(UsageError, match="to this very queue"):
            check_notifications({"QueueConfigurations": rules}, GOOD, sink)
    else:
        check_notifications({"QueueConfigurations": rules}, GOOD, sink)
