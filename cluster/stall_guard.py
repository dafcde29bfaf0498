"""Ends a job that no longer moves, and says where it hangs.

Key insight: a job that moves shows it in counts that only grow (images listed, outcomes, items that a stage has
finished, workers that have come up). The guard keeps the highest of each and the time since one of them grew; it needs
to know nothing else of the machinery, and a worker that dies and comes back for ever does not fool it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mattemill.pipeline.errors import JobStalledError


@dataclass(frozen=True, slots=True)
class StageCounts:
    """One stage at one moment: items waiting, items in calls, workers that are up, items finished since the start."""

    name: str
    queued: int
    running: int
    workers: int
    done: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The job at one moment; stages in the order in which an image passes them.

    listed: images taken from the source so far, to be done. listing: whether there may be more of them.
    seen: references that the listing went through so far, also those that are done already.
    ended: images with an outcome. in_flight_bytes, in_flight_limit: decoded bytes admitted, and how many may be.
    """

    stages: tuple[StageCounts, ...]
    ended: int
    listed: int
    listing: bool
    in_flight_bytes: int = 0
    in_flight_limit: int = 0
    seen: int = 0


class StallGuard:
    """Raises JobStalledError from `check` once nothing has moved for `timeout` seconds of looking.

    clock: seconds, monotonic. Time between two looks counts for at most a quarter of the timeout, so that a process
    that was itself stopped (SIGSTOP, a suspended machine) does not blame its job: look at least four times a timeout.
    Start-up counts as movement for as long as workers come up: once they are all there, or none comes, the time runs.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._looked = clock()
        self._still = 0.0
        self._best: dict[str, int] = {}

    def check(self, now: Snapshot) -> None:
        """Take note of a snapshot; raises JobStalledError naming stage, queue, workers and the setting to look at."""
        moment = self._clock()
        passed, self._looked = moment - self._looked, moment
        counts = {"ended": now.ended, "listed": now.listed}
        if not any(stage.queued or stage.running for stage in now.stages):
            counts["seen"] = now.seen  # the job waits for the listing; a stage that holds work is not excused by it
        for stage in now.stages:
            counts[f"{stage.name} done"] = stage.done
            counts[f"{stage.name} workers"] = stage.workers
        grown = [name for name, count in counts.items() if count > self._best.get(name, 0)]
        if grown:
            self._best.update((name, counts[name]) for name in grown)
            self._still = 0.0
            return
        self._still += min(max(0.0, passed), self._timeout / 4)
        if self._still >= self._timeout:
            raise JobStalledError(explain(now, self._still))


def explain(now: Snapshot, seconds: float) -> str:
    """The message for a job that has not moved for `seconds`: where it hangs, how far it got, what to look at."""
    where, look_at = _diagnose(now)
    of = f"{now.listed}+" if now.listing else f"{now.listed}"
    per_stage = ", ".join(
        f"{s.name} {s.queued} queued {s.running} running {s.workers} workers {s.done} done" for s in now.stages
    )
    return (
        f"the job has not moved for {seconds:.0f} s: {where}. It got to {now.ended} of {of} images ({per_stage}). "
        f"{look_at} What has ended is kept: the same command goes on from there."
    )


def _diagnose(now: Snapshot) -> tuple[str, str]:
    """What hangs, and which setting to look at."""
    holding = [stage for stage in now.stages if stage.queued or stage.running]
    if not holding:
        if now.listing and now.listed == now.ended:
            return "no stage has work and the source lists nothing more", (
                "Look at the source: can it be listed from here (endpoint_url, region, credentials)?"
            )
        return f"no stage has work, yet {now.listed - now.ended} listed images have no outcome", (
            f"Look at in_flight_bytes: {now.in_flight_bytes} of {now.in_flight_limit} bytes are taken, and the next "
            "image may not fit."
            if now.in_flight_limit
            else "Look at in_flight_bytes (0 follows memory_bytes): the next image may not fit."
        )
    # Work piles up before the stage that hangs and nothing comes after it, so it is the last that holds any.
    stage = holding[-1]
    where = (
        f"stage {stage.name} hangs with {stage.queued} queued and {stage.running} running on {stage.workers} workers"
    )
    if stage.workers == 0:
        return where, (
            "No worker of it is up. Look at cpus and workers (Ray may have less than they ask for), memory_bytes, and "
            "the workers' logs."
        )
    if stage.running == 0:
        return where, (
            "Its workers are idle. Look at batch_age and in_flight_bytes; if they are the defaults, please report it "
            "with this message."
        )
    if stage.name in ("fetch", "store"):
        return where, (
            "Its calls do not come back. Look at endpoint_url and the network to the store, then at call_timeout, "
            "which should be well below stall_timeout."
        )
    return where, (
        "Its calls do not come back. Look at call_timeout, which should be well below stall_timeout; raise both if one "
        "image really takes that long here."
    )
