"""What the simulated chaos shares: its constants, the faults, and a schedule of them by seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.layout import layout_below

STEP = 0.1
LEASE = 6.0
BOUND = 900.0
"""Simulated seconds within which a job ends, however it is treated: the faults lie in the first 60."""
START = datetime(2026, 1, 1, tzinfo=UTC)
FINGERPRINT = "0123456789abcdef"
ROOT = "file:///in"
CONFIG = JobConfig(lease_seconds=LEASE, stall_timeout=120.0, drain_timeout=15.0, shard_size=8)
LAYOUT = layout_below("")
FAULTS = (
    "cell_dies",
    "worker_dies",
    "node_dies",
    "node_told_to_end",
    "cut_off",
    "cut_off_for_good",
    "node_frozen",
    "node_slow",
    "store_refuses",
    "driver_dies",
    "driver_dies_in_a_write",
)


class DriverKilledError(BaseException):
    """The driver's process is gone: nothing of it may run any more."""


class BrokenRuleError(AssertionError):
    """What a seed has found."""


@dataclass(frozen=True)
class Fault:
    """One fault of a schedule. at, seconds: simulated. pick: which of those that can be struck."""

    at: float
    kind: str
    seconds: float
    pick: int


def schedule(seed: int) -> list[Fault]:
    """Some four to nine faults in the first minute."""
    rng = random.Random(f"schedule {seed}")
    return sorted(
        (
            Fault(rng.uniform(0.5, 60.0), rng.choice(FAULTS), rng.uniform(1.0, 60.0), rng.randrange(1000))
            for _ in range(rng.randint(4, 9))
        ),
        key=lambda fault: fault.at,
    )
