"""What a cell counts, as plain data that travels; and the figures of several cells as one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mattemill.cluster.coordinator import Coordinator


@dataclass(frozen=True, slots=True)
class StageFigures:
    """A stage of a cell. items, calls, call_items, busy_seconds: since the start; the others: now.

    device: 'cpu' or 'cuda'. queue_age: seconds that the oldest waiting item has waited.
    """

    items: int = 0
    calls: int = 0
    call_items: int = 0
    busy_seconds: float = 0.0
    batch_size: float = 0.0
    device: str = "cpu"
    workers: int = 0
    queued: int = 0
    running: int = 0
    queue_bytes: int = 0
    queue_age: float = 0.0


@dataclass(frozen=True, slots=True)
class CrewFigures:
    """The cells of a job over several nodes. lost, leased_again: since the start, the others: now.

    silence: seconds since the cell that was not heard of for the longest was heard of. came_back: images whose outcome
    the driver has; cells count those again that they do again.
    """

    working: int = 0
    starting: int = 0
    silent: int = 0
    lost: int = 0
    leased_again: int = 0
    silence: float = 0.0
    came_back: int = 0


@dataclass(frozen=True, slots=True)
class CellFigures:
    """A cell. mattes, failed (by reason), retries, timeouts, deaths, store_errors (by kind): since the start.

    The others: now, in images, bytes and shards. crew: where there are several cells.
    """

    mattes: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    draining: bool = False
    gate_held: int = 0
    gate_capacity: int = 0
    payload_bytes: int = 0
    shards_open: int = 0
    stages: Mapping[str, StageFigures] = field(default_factory=dict)
    retries: int = 0
    timeouts: int = 0
    deaths: int = 0
    store_errors: Mapping[str, int] = field(default_factory=dict)
    crew: CrewFigures | None = None

    @property
    def ended(self) -> int:
        """Images with an outcome."""
        return self.mattes + sum(self.failed.values())


def figures_of(coordinator: Coordinator, now: float) -> CellFigures:
    """The figures of this moment. now: seconds of the coordinator's clock."""
    counters, gate = coordinator.counters, coordinator.gate
    stages = {}
    for name, pool in coordinator.pools.items():
        close = pool.queue.next_close()
        stages[name] = StageFigures(
            items=pool.done,
            calls=counters.calls[name],
            call_items=counters.items.get(name, 0),
            busy_seconds=counters.seconds.get(name, 0.0),
            batch_size=coordinator.batch_size(name),
            # 'cuda:0 tensorrt fp16' and 'cuda:1 ...' are one stage: the kind of device is what an alert asks for.
            device="cuda" if coordinator.devices.get(name, "").startswith("cuda") else "cpu",
            workers=pool.up,
            queued=pool.waiting,
            running=pool.busy_items,
            queue_bytes=pool.queue.waiting_bytes,
            queue_age=0.0 if close is None else max(0.0, now - (close - pool.queue.max_age)),
        )
    return CellFigures(
        mattes=coordinator.ended - sum(coordinator.failed.values()),
        failed={str(reason): number for reason, number in coordinator.failed.items()},
        in_flight=coordinator.in_flight,
        draining=coordinator.draining,
        gate_held=gate.held,
        gate_capacity=gate.capacity,
        payload_bytes=gate.stored,
        shards_open=coordinator.open_shards,
        stages=stages,
        retries=counters.retries,
        timeouts=counters.timeouts,
        deaths=counters.deaths,
        store_errors=dict(counters.store_errors),
    )


def joined(running: Sequence[CellFigures], ended: Iterable[CellFigures] = ()) -> CellFigures:
    """Several cells as one. ended: cells that are gone, of which only what they have done is counted."""
    every = [*running, *ended]
    names = dict.fromkeys(name for cell in every for name in cell.stages)
    return CellFigures(
        mattes=sum(cell.mattes for cell in every),
        failed=_summed(cell.failed for cell in every),
        in_flight=sum(cell.in_flight for cell in running),
        draining=any(cell.draining for cell in running),
        gate_held=sum(cell.gate_held for cell in running),
        gate_capacity=sum(cell.gate_capacity for cell in running),
        payload_bytes=sum(cell.payload_bytes for cell in running),
        shards_open=sum(cell.shards_open for cell in running),
        stages={
            name: _joined_stage(
                [cell.stages[name] for cell in running if name in cell.stages],
                [cell.stages[name] for cell in every if name in cell.stages],
            )
            for name in names
        },
        retries=sum(cell.retries for cell in every),
        timeouts=sum(cell.timeouts for cell in every),
        deaths=sum(cell.deaths for cell in every),
        store_errors=_summed(cell.store_errors for cell in every),
    )


def _joined_stage(running: list[StageFigures], every: list[StageFigures]) -> StageFigures:
    return StageFigures(
        items=sum(stage.items for stage in every),
        calls=sum(stage.calls for stage in every),
        call_items=sum(stage.call_items for stage in every),
        busy_seconds=sum(stage.busy_seconds for stage in every),
        # The fill of batches is measured by it: as many cells are above it as below.
        batch_size=sum(stage.batch_size for stage in running) / len(running) if running else 0.0,
        device="cuda" if any(stage.device == "cuda" for stage in every) else "cpu",
        workers=sum(stage.workers for stage in running),
        queued=sum(stage.queued for stage in running),
        running=sum(stage.running for stage in running),
        queue_bytes=sum(stage.queue_bytes for stage in running),
        queue_age=max((stage.queue_age for stage in running), default=0.0),
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
