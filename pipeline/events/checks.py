"""What can be said of a queue and a sink before anything is received: that it would not work, or not well. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.events.errors import QueueError
from mattemill.pipeline.events.queue import QueueFacts
from mattemill.pipeline.events.settings import SHORTEST_VISIBILITY, EventSettings
from mattemill.pipeline.storage.location import S3, Location

_OURS = (".png", ".webp", ".parquet", ".json")


def check_queue(facts: QueueFacts, settings: EventSettings) -> list[str]:
    """Warnings, a sentence each. Raises QueueError when messages would come back while they are worked on."""
    if facts.visibility < SHORTEST_VISIBILITY:
        raise QueueError(
            f"queue {facts.name}: its visibility timeout of {facts.visibility:g} s is too short: messages would come "
            f"back while they are worked on; set VisibilityTimeout to {SHORTEST_VISIBILITY:g} s or more (120 is good)"
        )
    if facts.dead_letter_after is None:
        return [
            f"queue {facts.name} has no dead-letter queue: a message that ends this process before it is even read "
            "would come back for ever; give it one (RedrivePolicy) with a maxReceiveCount above "
            f"{settings.max_receives}"
        ]
    if facts.dead_letter_after <= settings.max_receives:
        return [
            f"queue {facts.name} puts a message aside after {facts.dead_letter_after} receives, before it is given up "
            f"here after {settings.max_receives}: such messages leave no failure row; set maxReceiveCount to "
            f"{settings.max_receives + 1} or more, or --max-receives lower"
        ]
    return []


def check_sink(sink: Location, source: Location | None) -> None:
    """Raises UsageError when the sink and the source lie in each other: each matte would be an event."""
    if source is None or source.scheme != S3:
        return
    if sink.contains(source) or source.contains(sink):
        raise UsageError(
            f"the sink {sink} and the source {source} lie in each other: every matte would come back as an event, "
            "without end; choose a sink in another bucket, or under a prefix beside the source"
        )


def check_notifications(configuration: Mapping[str, Any], facts: QueueFacts, sink: Location) -> None:
    """Raises UsageError when the sink's own bucket sends events of what is written below the sink to this queue.

    configuration: as S3's GetBucketNotificationConfiguration answers. Ways by SNS or EventBridge do not show there.
    """
    for rule in configuration.get("QueueConfigurations", ()):
        if rule.get("QueueArn") != facts.arn or not any("ObjectCreated" in event for event in rule.get("Events", ())):
            continue
        filters = {
            str(item.get("Name", "")).lower(): str(item.get("Value", ""))
            for item in rule.get("Filter", {}).get("Key", {}).get("FilterRules", ())
        }
        prefix, suffix = filters.get("prefix", ""), filters.get("suffix", "")
        overlap = prefix.startswith(sink.prefix) or sink.prefix.startswith(prefix)
        if overlap and any(name.endswith(suffix) or suffix.endswith(name) for name in _OURS):
            raise UsageError(
                f"the bucket of the sink {sink} sends an event of each matte to this very queue (a notification of "
                f"prefix {prefix!r}, suffix {suffix!r}), without end; narrow the notification's prefix, or choose "
                "another bucket for the sink"
            )
