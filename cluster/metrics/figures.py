"""The figures of one moment, and the values of metrics that follow from them. Pure: nothing here measures or sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mattemill.cluster.metrics.cell_figures import CellFigures, CrewFigures
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
    """What the cells do not know. committed: images; shards: committed. store_errors: of the driver, by kind.

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


def values(progress: Progress, cell: CellFigures, around: Around) -> Iterator[Value]:
    """All series of this moment. cell: the figures of the cell, or of all of them as one."""
    yield from _job(progress, cell, around)
    yield from _stages(cell)
    yield from _faults(cell, around)
    if cell.crew is not None:
        yield from _crew(cell.crew)
    if progress.events is not None:
        yield from _queue(progress.events)


def _job(progress: Progress, cell: CellFigures, around: Around) -> Iterator[Value]:
    yield _of("images", cell.mattes, outcome="matte", reason="")
    for reason, number in cell.failed.items():
        yield _of("images", number, outcome="failure", reason=reason)
    yield _of("images_committed", around.committed)
    yield _of("shards_committed", around.shards)
    yield _of("images_done_before", progress.already_done)
    if progress.total is not None:
        ended = cell.ended if cell.crew is None else cell.crew.came_back
        yield _of("images_left", max(0, progress.total - ended))
    yield _of("images_in_flight", cell.in_flight)
    yield _of("draining", int(cell.draining))
    yield _of("uptime_seconds", progress.seconds)
    if around.price_per_hour > 0:
        yield _of("cost", progress.seconds / 3600 * around.price_per_hour)
    yield _of("gate_held_bytes", cell.gate_held)
    yield _of("gate_capacity_bytes", cell.gate_capacity)
    yield _of("payload_bytes", cell.payload_bytes)
    if around.spilled is not None:
        yield _of("spilled_bytes", around.spilled)
    yield _of("shards_open", cell.shards_open)
    if around.lease_number is not None:
        yield _of("lease_number", around.lease_number)
    if around.lease_age is not None:
        yield _of("lease_age_seconds", around.lease_age)


def _stages(cell: CellFigures) -> Iterator[Value]:
    for name, stage in cell.stages.items():
        yield _of("stage_items", stage.items, stage=name)
        yield _of("stage_calls", stage.calls, stage=name)
        yield _of("stage_call_items", stage.call_items, stage=name)
        yield _of("stage_batch_size", stage.batch_size, stage=name)
        yield _of("stage_busy_seconds", stage.busy_seconds, stage=name, device=stage.device)
        yield _of("stage_workers", stage.workers, stage=name)
        yield _of("stage_queued", stage.queued, stage=name)
        yield _of("stage_running", stage.running, stage=name)
        yield _of("stage_queue_bytes", stage.queue_bytes, stage=name)
        yield _of("stage_queue_age_seconds", stage.queue_age, stage=name)


def _faults(cell: CellFigures, around: Around) -> Iterator[Value]:
    yield _of("call_retries", cell.retries)
    yield _of("call_timeouts", cell.timeouts)
    yield _of("worker_deaths", cell.deaths)
    # Kinds that never came up are said too: an alert on a rise needs the 0 before it.
    kinds = {"throttled": 0, "server": 0, "network": 0, "damaged": 0}
    for found in (cell.store_errors, around.store_errors):
        for kind, number in found.items():
            kinds[kind] = kinds.get(kind, 0) + number
    for kind, number in kinds.items():
        yield _of("store_errors", number, kind=kind)


def _crew(crew: CrewFigures) -> Iterator[Value]:
    for state, number in (("working", crew.working), ("starting", crew.starting), ("silent", crew.silent)):
        yield _of("cells", number, state=state)
    yield _of("cells_lost", crew.lost)
    yield _of("shards_leased_again", crew.leased_again)
    yield _of("cell_silence_seconds", crew.silence)


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
