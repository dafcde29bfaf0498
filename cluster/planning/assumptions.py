"""What a plan supposes and nobody has measured for the user: printed with every plan."""

from __future__ import annotations

from dataclasses import dataclass

from mattemill.pipeline.config import JobConfig


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Shares are 0..1, times in seconds.

    boot_seconds: from asking for a node to its first command. headroom: share of the rate that is kept for faults.
    image_failures: share of images that end as failures; reasons: different ones, equally frequent.
    worker_deaths: worker processes that die, a million images. node_deaths: a node and day (spot).
    cut_offs: share of these deaths that are cuts of the network instead, which heal. slow_nodes: share of nodes that
    are slower by slow_factor. notice_seconds: until the driver takes the leases of a silent node away.
    preview_bytes: of a failure's small JPEG; row_bytes: of an outcome row (measured).
    """

    shard_size: int = JobConfig().shard_size
    boot_seconds: float = 120.0
    headroom: float = 0.10
    image_failures: float = 0.02
    reasons: int = 3
    worker_deaths: float = 20.0
    node_deaths: float = 1.0
    cut_offs: float = 0.2
    slow_nodes: float = 0.03
    slow_factor: float = 2.0
    notice_seconds: float = 65.0
    preview_bytes: float = 8000.0
    row_bytes: float = 63.0
