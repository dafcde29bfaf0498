"""A job's engines are built with progress before its workers start, and given up when the job is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mattemill.cluster import engine_builds, gpu_nodes, job
from mattemill.cluster.engine_builds import build_engines
from mattemill.cluster.layout import lay_out, workers_per_gpu
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.builder import BuildProgress
from mattemill.pipeline.engines.gpus import DriverFound, Gpu
from mattemill.pipeline.engines.place import CPU, Place

_PLACE = Place("cuda:0", "tensorrt", "fp16")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[BuildProgress | Callable[[], None]]:
    """What a build tells, and does, step by step."""
    planned: list[BuildProgress | Callable[[], None]] = []

    def ensure(config: JobConfig, place: Place, tell: Any) -> None:
        for step in planned:
            if isinstance(step, BuildProgress):
                tell(step)
            else:
                step()

    monkeypatch.setattr(engine_builds, "ensure_engines", ensure)
    return planned


def test_every_step_and_every_tenth_is_told_once(steps: list[BuildProgress | Callable[[], None]]) -> None:
    steps += [BuildProgress("u2netp", "waiting", 0.0, "")] * 3
    steps += [BuildProgress("u2netp", "compiling", share / 100, "x") for share in range(100)]
    told: list[Progress] = []
    assert build_engines(JobConfig(), _PLACE, told.append, threading.Event(), 5.0, clock=lambda: 8.0)
    assert told[0].note == "engine for cuda:0 tensorrt fp16: u2netp waits for another process that builds it"
    assert [progress.note[-4:] for progress in told[2:]] == [f"{tenth}0 %" for tenth in range(1, 10)]
    assert len(told) == 11
    assert told[0].seconds == 3.0


def test_a_job_that_is_stopped_gives_up_what_it_builds(steps: list[BuildProgress | Callable[[], None]]) -> None:
    stop = threading.Event()
    after: list[str] = []
    compiling = BuildProgress("u2netp", "compiling", 0.1, "")
    steps += [compiling, stop.set, compiling, lambda: after.append("built on")]
    assert not build_engines(JobConfig(), _PLACE, None, stop, 0.0)
    assert after == []


def test_on_the_cpu_there_is_nothing_to_build() -> None:
    assert build_engines(JobConfig(), CPU, None, threading.Event(), 0.0)


def test_a_gpu_has_as_many_workers_as_cores_and_its_memory_allow() -> None:
    assert workers_per_gpu(3, 16, 1, 141 << 30) == 5
    assert workers_per_gpu(3, 16, 4, 141 << 30) == 1
    assert workers_per_gpu(3, 16, 1, 8 << 30) == 1
    assert workers_per_gpu(1, 16, 1, 8 << 30) == 5
    assert workers_per_gpu(3, 16, 1, 141 << 30, wanted=6) == 2


def test_every_stage_with_a_network_has_a_share_of_the_gpu() -> None:
    split = lay_out(JobConfig(cpus=16, placement="split"), str(_PLACE), 1, gpu_bytes=141 << 30)
    workers = {stage.name: stage.workers for stage in split.plan.stages}
    assert [workers[name] for name in ("detect", "segment", "matte")] == [5, 5, 5]
    assert sum(workers[name] * share for name, share in split.gpu_shares.items()) <= 1.0
    assert split.gpu_shares["matte"] > 0
    guided = lay_out(JobConfig(cpus=16, placement="split", refine="guided"), str(_PLACE), 1, gpu_bytes=141 << 30)
    assert guided.gpu_shares["matte"] == 0


def test_a_job_that_is_stopped_while_it_builds_says_what_is_left_and_starts_no_ray(
    u2netp: Path, sample_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEMILL_MODELS", str(u2netp.parent))
    source = tmp_path / "in"
    source.mkdir()
    for name in ("astronaut.jpg", "raccoon.jpg"):
        (source / name).write_bytes((sample_photos / name).read_bytes())
    stop = threading.Event()

    def stopped(*_: object) -> bool:
        stop.set()
        return False

    monkeypatch.setattr(job, "build_engines", stopped)
    monkeypatch.setattr(job, "run_on_ray", lambda *_, **__: pytest.fail("Ray was started"))
    summary = job.run_job(str(source), str(tmp_path / "out"), JobConfig(device="cpu"), stop=stop)
    assert summary.drained
    assert not summary.finished
    assert (summary.images, summary.remaining) == (0, 2)


def test_what_a_job_leaves_open_is_settled_for_all_its_workers(
    u2netp: Path, sample_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEMILL_MODELS", str(u2netp.parent))
    found = DriverFound("13.0", (Gpu(0, "NVIDIA H200", "9.0", 141 << 30),), None)
    monkeypatch.setattr(gpu_nodes, "find_gpus", lambda: found)
    monkeypatch.setattr(gpu_nodes, "place_of", lambda config: _PLACE)
    on_gpu = job.prepare(str(sample_photos), str(tmp_path / "out"), JobConfig(cpus=16))
    assert (on_gpu.config.device, on_gpu.config.engine, on_gpu.config.precision) == ("cuda", "tensorrt", "fp16")
    assert (on_gpu.layout.gpus, on_gpu.layout.device) == (1, "cuda:0 tensorrt fp16")
    monkeypatch.setattr(gpu_nodes, "place_of", lambda config: CPU)
    on_cpu = job.prepare(str(sample_photos), str(tmp_path / "out"), JobConfig(cpus=16))
    assert (on_cpu.config.device, on_cpu.layout.gpus) == ("cpu", 0)
    assert on_cpu.fingerprint == JobConfig().fingerprint(on_cpu.model_hashes) != on_gpu.fingerprint
