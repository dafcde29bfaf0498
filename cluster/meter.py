"""Turns the coordinator's counts into what a person or the stall guard looks at."""

from __future__ import annotations

from collections import deque

from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.progress import Progress, StageState
from mattemill.cluster.stall_guard import Snapshot, StageCounts

_WINDOW = 10.0  # seconds over which rates are taken: long enough for networks that take half a second an image


class Meter:
    """Keeps a few seconds of counts for the rates. All times in seconds of one clock."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._seen: deque[tuple[float, int, dict[str, int]]] = deque()

    def progress(
        self, coordinator: Coordinator, now: float, *, total: int | None, already_done: int, note: str
    ) -> Progress:
        """The job now. total: images due in this run, None while the listing goes on."""
        done = {name: pool.done for name, pool in coordinator.pools.items()}
        self._seen.append((now, coordinator.ended, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        then, ended_before, done_before = self._seen[0]
        passed = now - then

        def rate(after: int, before: int) -> float:
            return (after - before) / passed if passed > 0 else 0.0

        images = rate(coordinator.ended, ended_before)
        left = None
        if total is not None and images > 0:
            left = max(0.0, (total - coordinator.ended) / images)
        stages = tuple(
            StageState(
                name=name,
                queued=pool.waiting,
                running=pool.busy_items,
                workers=pool.up,
                done=pool.done,
                images_per_second=rate(pool.done, done_before[name]),
            )
            for name, pool in coordinator.pools.items()
        )
        return Progress(
            done=coordinator.ended,
            failed=sum(coordinator.failed.values()),
            total=total,
            images_per_second=images,
            seconds=now - self._started,
            seconds_left=left,
            stages=stages,
            already_done=already_done,
            draining=coordinator.draining,
            note=note,
        )


def snapshot(coordinator: Coordinator, *, listing: bool, seen: int) -> Snapshot:
    """What the stall guard compares. seen: references that the listing went through, due or not."""
    return Snapshot(
        stages=tuple(
            StageCounts(name, pool.waiting, pool.busy_items, pool.up, pool.done)
            for name, pool in coordinator.pools.items()
        ),
        ended=coordinator.ended,
        listed=coordinator.offered,
        listing=listing,
        in_flight_bytes=coordinator.gate.held,
        in_flight_limit=coordinator.gate.capacity,
        seen=seen,
    )
