"""What the body of a queue's message says: which objects were created, and what of it is of no interest. Pure.

Three forms, and their combinations, are read:

- S3's own: `{"Records": [{"eventName": "ObjectCreated:Put", "s3": {...}}, ...]}`. Keys are URL-encoded as HTML forms
  are ('red flower.jpg' is 'red+flower.jpg'): AWS, Amazon S3 User Guide, "Event message structure"
  (notification-content-structure). S3 also sends one `s3:TestEvent` when notifications are set up.
- SNS around it: `{"Type": "Notification", "Message": "<the JSON above as a string>"}`.
- EventBridge: `{"detail-type": "Object Created", "source": "aws.s3", "detail": {...}}`. Its keys are literal. AWS'
  page on it ("EventBridge event message structure", ev-events) says nothing of an encoding, unlike the page on S3's own
  form; pull request 21 of aws-solutions-library-samples/guidance-for-medialake-on-aws reports uploads of names like
  '%2B++ %20.mp3' through both ways, right only if EventBridge's keys are taken as they are. (AWS' Powertools for Python
  do decode them, which would read 'a+b.jpg' as 'a b.jpg'.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

S3_NOTIFICATION = "s3"
EVENTBRIDGE = "eventbridge"

_DEEPEST = 3  # wrappings: EventBridge -> SNS -> SQS is two
_SIZES = 2**63  # from here on no size is kept: outcome rows have 64 bits, and no object is so large


@dataclass(frozen=True, slots=True)
class Created:
    """An object was written. key: decoded. etag: without quotes; size: bytes; both None when the event has none.

    time: seconds since 1970 at which S3 had the object, None when it cannot be read. sequencer: hexadecimal, orders
    events of one key and one form; '' when there is none. form: S3_NOTIFICATION or EVENTBRIDGE.
    """

    bucket: str
    key: str
    etag: str | None = None
    size: int | None = None
    time: float | None = None
    sequencer: str = ""
    form: str = S3_NOTIFICATION

    def is_older_than(self, other: Created) -> bool:
        """Whether the other event of the same key is surely the later one; False also when that cannot be told.

        Sequencers may differ in length: the shorter one is filled with zeros on its right, then both are compared as
        text (AWS, "Event message structure"). Those of the two forms are written differently and not compared. Some
        other stores always send '0', which says nothing.
        """
        mine, theirs = (each.sequencer.lower() if each.sequencer.strip("0") else "" for each in (self, other))
        if not mine or not theirs or self.form != other.form:
            return False
        longest = max(len(mine), len(theirs))
        return mine.ljust(longest, "0") < theirs.ljust(longest, "0")


@dataclass(slots=True)
class Notices:
    """What one message says. ignored: records of no interest by kind. bad: what could not be understood, a sentence
    each; empty for a message in order. All of it can be written as UTF-8, whatever the message holds."""

    created: list[Created] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    def ignore(self, kind: str) -> None:
        """One more of a kind that is of no interest."""
        kind = _writable(kind)
        self.ignored[kind] = self.ignored.get(kind, 0) + 1

    def complain(self, text: str) -> None:
        """Something that could not be understood."""
        self.bad.append(_writable(text))


def read_notices(body: str) -> Notices:
    """All that a message's body says; never raises: what is wrong with it is in `bad`."""
    notices = Notices()
    try:
        _read(json.loads(body), notices, 0)
    except (ValueError, RecursionError) as error:
        notices.complain(f"is no JSON ({error})")
    return notices


def _read(value: Any, notices: Notices, depth: int) -> None:
    if not isinstance(value, dict):
        notices.complain(f"is JSON, but a {type(value).__name__} and no event")
    elif isinstance(value.get("Records"), list):
        for record in value["Records"]:
            _read_record(record, notices)
    elif value.get("Event") == "s3:TestEvent":
        notices.ignore("s3:TestEvent")
    elif "detail-type" in value:
        _read_eventbridge(value, notices)
    elif isinstance(value.get("Message"), str) and depth < _DEEPEST:
        try:
            inner = json.loads(value["Message"])
        except ValueError as error:
            notices.complain(f"is of SNS, and its Message is no JSON ({error})")
            return
        _read(inner, notices, depth + 1)
    else:
        names = ", ".join(sorted(map(str, value))[:5]) or "nothing"
        notices.complain(f"is no event of S3: it has {names}, and neither Records nor detail-type")


def _read_record(record: Any, notices: Notices) -> None:
    name = record.get("eventName") if isinstance(record, dict) else None
    if not isinstance(name, str):
        notices.complain("has a record without eventName")
        return
    kind = name.removeprefix("s3:")
    if not kind.startswith("ObjectCreated:"):
        notices.ignore(kind)
        return
    try:
        s3 = record["s3"]
        _add(notices, s3["bucket"], s3["object"], "eTag", record.get("eventTime"), S3_NOTIFICATION)
    except (KeyError, TypeError, ValueError) as error:
        notices.complain(f"has a record {name} that cannot be read ({error!r})")


def _read_eventbridge(value: Mapping[str, Any], notices: Notices) -> None:
    kind = value["detail-type"]
    if value.get("source", "aws.s3") != "aws.s3" or kind != "Object Created":
        notices.ignore(f"EventBridge {kind}")
        return
    try:
        detail = value["detail"]
        _add(notices, detail["bucket"], detail["object"], "etag", value.get("time"), EVENTBRIDGE)
    except (KeyError, TypeError, ValueError) as error:
        notices.complain(f"is of EventBridge, and its detail cannot be read ({error!r})")


def _add(notices: Notices, bucket: Any, thing: Any, etag: str, time: Any, form: str) -> None:
    """Raises KeyError, TypeError, ValueError."""
    name, key, size = bucket["name"], thing["key"], thing.get("size")
    if not isinstance(name, str) or not isinstance(key, str) or not name or not key:
        raise ValueError(f"bucket {name!r}, key {key!r}")
    if "/" in name:
        raise ValueError(f"bucket {name!r}: no name of a bucket")
    # Bytes that are no UTF-8 become surrogates, as everywhere here: such a key is not silently another one.
    key = unquote_plus(key, errors="surrogateescape") if form == S3_NOTIFICATION else key
    tag = thing.get(etag)
    tag = str(tag).strip('"') or None if tag else None
    # What a JSON string may hold and no row can: it has to end here, not at the commit. Raises UnicodeEncodeError.
    key.encode("utf-8", "surrogateescape")
    f"{name}{tag}".encode()
    notices.created.append(
        Created(
            bucket=name,
            key=key,
            etag=tag,
            size=size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size < _SIZES else None,
            time=_seconds(time),
            sequencer=str(thing.get("sequencer") or ""),
            form=form,
        )
    )


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _seconds(time: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(time)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
