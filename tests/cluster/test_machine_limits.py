"""Cores and memory as a container allows them; what follows for the store and the gate."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mattemill.cluster.calibration import Calibration
from mattemill.cluster.layout import lay_out, resized
from mattemill.cluster.machine import gate_bytes, object_store_bytes, usable_cores, usable_memory
from mattemill.cluster.stock import Stock
from mattemill.pipeline.config import JobConfig

GB = 2**30


def test_a_quota_of_the_container_limits_the_cores(tmp_path: Path) -> None:
    affinity = len(os.sched_getaffinity(0))
    assert usable_cores(cgroup=tmp_path) == affinity
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(cgroup=tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(cgroup=tmp_path) == affinity
    assert usable_cores(7, cgroup=tmp_path) == 7


def test_a_limit_of_the_container_limits_the_memory(tmp_path: Path) -> None:
    whole = usable_memory(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory(tmp_path) == whole
    (tmp_path / "memory.max").write_text(f"{256 * 2**20}\n")
    assert usable_memory(tmp_path) == 256 * 2**20


@pytest.mark.parametrize(
    ("asked", "memory", "store"),
    [(0, 10 * GB, 3 * GB), (0, 100 * GB, 8 * GB), (0, GB // 4, GB // 4), (GB, 100 * GB, GB)],
)
def test_the_object_store_follows_the_memory(asked: int, memory: int, store: int) -> None:
    assert object_store_bytes(asked, memory) == store


def test_a_full_gate_fits_into_the_store_as_rgba() -> None:
    store = 3 * GB
    assert gate_bytes(0, store) * 4 / 3 < lay_out(JobConfig(), "cpu", 0, store).plan.store_bytes
    assert gate_bytes(5, store) == 5


def test_two_cores_are_given_to_networks_with_one_fetch_and_one_store_beside() -> None:
    layout = lay_out(JobConfig(cpus=2), "cpu", 0)
    assert layout.plan.placement == "fused"
    assert {stage.name: stage.workers for stage in layout.plan.stages} == {"fetch": 1, "cut": 2, "store": 1}
    split = lay_out(JobConfig(cpus=2, placement="split"), "cpu", 0)
    assert [stage.name for stage in split.plan.stages] == ["fetch", "detect", "segment", "matte", "store"]


def test_workers_follow_from_core_time_and_not_from_waiting_for_cores() -> None:
    config = JobConfig(cpus=2)
    layout = lay_out(config, "cpu", 0)
    calibration = Calibration()
    assert resized(config, layout, calibration) is None, "nothing was measured"
    for _ in range(20):
        # A loaded machine: every stage takes four times its core time.
        calibration.observe("fetch", 1, 0.04, 0.01)
        calibration.observe("cut", 1, 2.0, 0.5)
        calibration.observe("store", 1, 0.04, 0.01)
    assert resized(config, layout, calibration) == {"fetch": 1, "cut": 2, "store": 1}


def test_the_stock_grows_with_the_rate_and_stays_small_for_slow_networks() -> None:
    slow, fast = Stock(32, widest=2), Stock(32, widest=2)
    for second in range(1, 10):
        slow.tick(float(second), 3 * second)
        fast.tick(float(second), 1000 * second)
    assert slow.limit == 8
    assert slow.fetch_batch == 4
    assert fast.fetch_batch == 32
    assert fast.limit == 2000


def test_the_stock_admits_whole_fetch_batches() -> None:
    stock = Stock(32, widest=2)
    assert stock.wants(0, 0) == stock.limit == 8
    stock.held = 6
    assert stock.wants(6, 0) == 0, "room for two, a batch is four"
    stock.held = 4
    assert stock.wants(4, 0) == 4
    assert stock.wants(8, 4) == 0
