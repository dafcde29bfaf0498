"""What this machine lets the job use: cores and memory, container limits included."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(asked: int = 0, cgroup: Path = _CGROUP) -> int:
    """Cores that this process may run on (affinity and the container's quota), or `asked` when that is not 0."""
    if asked > 0:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(cores, ceil(quota))) if quota is not None else cores


def usable_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory of the machine, or of the container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _read(cgroup / name)
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def object_store_bytes(asked: int = 0, memory: int | None = None) -> int:
    """Bytes for the object store: `asked`, or 30 % of the memory, at most 8 GiB, at least 256 MiB.

    The gate bounds what lies in it; more would only take memory from the networks.
    """
    if asked > 0:
        return max(asked, 80 * 2**20)  # Ray refuses less than 75 MiB
    available = usable_memory() if memory is None else memory
    return max(256 * 2**20, min(8 * 2**30, available * 3 // 10))


def gate_bytes(in_flight: int, store: int) -> int:
    """Decoded bytes that the gate admits: `in_flight`, or half of the object store.

    Half, because the payloads of an image are at most its encoded bytes and its RGBA pixels (4/3 of its decoded size),
    so a full gate fills two thirds of the store and the rest takes the outputs of calls in flight.
    """
    return in_flight if in_flight > 0 else store // 2


def _quota(cgroup: Path) -> float | None:
    """Cores that the container may use, or None without a limit."""
    words = _read(cgroup / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
