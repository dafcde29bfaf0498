"""The figures of one moment, and the values of metrics that follow from them. Pure: nothing here measures or sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.progress import Progress
from mattemill.pipeline.events.stats import EventStats


@dataclass(frozen=True, slots=True)
class Value:
    """One series at one moment. value: of a counter its total since the start, which never falls."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Around:
    """What the coordinator does not know. committed: images; shards: committed. store_errors: of the driver, by kind.

    spilled: bytes, None when not looked at or unknown. lease_number, lease_age: of the run lease, None without one.
    price_per_hour: 0 = none.
    """

    committed: int = 0
    shards: int = 0
    spilled: int | None = None
    lease_number: int | None = None
    lease_age: float | None = None
    store_errors: Mapping[str, int] = field(default_factory=dict)
    price_per_hour: float = 0.0


def values(progress: Progress, coordinator: Coordinator, around: Around, now: float) -> Iterator[Value]:
    """All series of this moment. now: seconds of the coordinator's clock."""
    yield from _job(progress, coordinator, around)
    yield from _stages(coordinator, now)
    yield from _faults(coordinator, around)
    if progress.events is not None:
        yield from _queue(progress.events)


def _job(progress: Progress, coordinator: Coordinator, around: Around) -> Iterator[Value]:
    failed = sum(coordinator.failed.values())
    yield _of("images", coordinator.ended - failed, outcome="matte", reason="")
    for reason, number in coordinator.failed.items():
        yield _of("images", number, outcome="failure", reason=str(reason))
    yield _of("images_committed", around.committed)
    yield _of("shards_committed", around.shards)
    yield _of("images_done_before", progress.already_done)
    if progress.total is not None:
        yield _of("images_left", max(0, progress.total - coordinator.ended))
    yield _of("images_in_flight", coordinator.in_flight)
    yield _of("draining", int(coordinator.draining))
    yield _of("uptime_seconds", progress.seconds)
    if around.price_per_hour > 0:
        yield _of("cost", progress.seconds / 3600 * around.price_per_hour)
    gate = coordinator.gate
    yield _of("gate_held_bytes", gate.held)
    yield _of("gate_capacity_bytes", gate.capacity)
    yield _of("payload_bytes", gate.stored)
    if around.spilled is not None:
        yield _of("spilled_bytes", around.spilled)
    yield _of("shards_open", coordinator.open_shards)
    if around.lease_number is not None:
        yield _of("lease_number", around.lease_number)
    if around.lease_age is not None:
        yield _of("lease_age_seconds", around.lease_age)


def _stages(coordinator: Coordinator, now: float) -> Iterator[Value]:
    counters = coordinator.counters
    for stage, pool in coordinator.pools.items():
        yield _of("stage_items", pool.done, stage=stage)
        yield _of("stage_calls", counters.calls[stage], stage=stage)
        yield _of("stage_call_items", counters.items.get(stage, 0), stage=stage)
        yield _of("stage_batch_size", coordinator.batch_size(stage), stage=stage)
        # 'cuda:0 tensorrt fp16' and 'cuda:1 ...' are one stage: the kind of device is what an alert asks for.
        device = "cuda" if coordinator.devices.get(stage, "").startswith("cuda") else "cpu"
        yield _of("stage_busy_seconds", counters.seconds.get(stage, 0.0), stage=stage, device=device)
        yield _of("stage_workers", pool.up, stage=stage)
        yield _of("stage_queued", pool.waiting, stage=stage)
        yield _of("stage_running", pool.busy_items, stage=stage)
        yield _of("stage_queue_bytes", pool.queue.waiting_bytes, stage=stage)
        close = pool.queue.next_close()
        age = 0.0 if close is None else max(0.0, now - (close - pool.queue.max_age))
        yield _of("stage_queue_age_seconds", age, stage=stage)


def _faults(coordinator: Coordinator, around: Around) -> Iterator[Value]:
    counters = coordinator.counters
    yield _of("call_retries", counters.retries)
    yield _of("call_timeouts", counters.timeouts)
    yield _of("worker_deaths", counters.deaths)
    # Kinds that never came up are said too: an alert on a rise needs the 0 before it.
    kinds = {"throttled": 0, "server": 0, "network": 0, "damaged": 0}
    for found in (counters.store_errors, around.store_errors):
        for kind, number in found.items():
            kinds[kind] = kinds.get(kind, 0) + number
    for kind, number in kinds.items():
        yield _of("store_errors", number, kind=kind)


def _queue(events: EventStats) -> Iterator[Value]:
    for what, number in (
        ("received", events.received),
        ("deleted", events.deleted),
        ("released", events.released),
        ("extended", events.extended),
        ("lost_hold", events.lost_holds),
        ("given_up", events.given_up),
    ):
        yield _of("queue_messages", number, what=what)
    yield _of("queue_held", events.held)
    yield _of("backlog_age_seconds", events.backlog_age)
    for quantile, seconds in (("0.5", events.latency_p50), ("0.95", events.latency_p95), ("1", events.latency_max)):
        if seconds is not None:
            yield _of("event_to_matte_seconds", seconds, quantile=quantile)


def _of(name: str, value: float, **labels: str) -> Value:
    return Value(f"mattemill_{name}", float(value), labels)
