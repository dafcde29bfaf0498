"""Engines are built in a process of their own, once, and published only when all went well."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from engine_case import H200, PARITY, recipe, sidecar_of

from mattemill.pipeline.engines import builder
from mattemill.pipeline.engines.build_process import PLAN, Task
from mattemill.pipeline.engines.builder import BuildProgress, ensure_engine, plan_of, target_here
from mattemill.pipeline.engines.engine_cache import EngineCache
from mattemill.pipeline.engines.gpus import DriverFound, Gpu
from mattemill.pipeline.errors import DeviceError, EngineError
from mattemill.pipeline.models.cache import cached_file
from mattemill.pipeline.models.cards import card_of

_NO_GPU = DriverFound(None, (), "no NVIDIA driver: libcuda.so.1 cannot be loaded")
_H200 = DriverFound("13.0", (Gpu(0, "NVIDIA H200", "9.0", 150 << 30),), None)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def _task(tmp_path: Path, **changes: object) -> Task:
    task = Task(recipe(), str(tmp_path / "no.onnx"), str(tmp_path), True, False, str(tmp_path), None, 0, "")
    return dataclasses.replace(task, **changes)  # type: ignore[arg-type]


def _python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another program where the building process would be."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(builder.sys, "executable", str(program))


def test_a_task_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    task = _task(tmp_path, timing_cache="x", gpu=3, compare=True)
    assert Task.loads(task.dumps()) == task


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("cat > /dev/null; kill -SEGV $$", r"model u2netp: the process .* was ended by SIGSEGV"),
        ("kill -KILL $$", r"was ended by SIGKILL"),
        ("cat > /dev/null; echo out of luck >&2; exit 3", r"ended with 3 \(out of luck\)"),
    ],
)
def test_a_builder_that_dies_is_an_error_that_says_how_it_ended(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _python(tmp_path, monkeypatch, script)
    with pytest.raises(EngineError, match=says):
        builder._run(_task(tmp_path), lambda step, share, phase: None)


def test_what_goes_wrong_in_the_building_process_is_the_same_error_here(tmp_path: Path) -> None:
    task = _task(tmp_path, compile=False, compare=True, photos=str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match="nowhere: no photographs"):
        builder._run(task, lambda step, share, phase: None)


def _small(cache: EngineCache, progress: list[BuildProgress]) -> builder.Entry:
    card = card_of("mattenet")
    return ensure_engine(
        card,
        cached_file(card),
        "tensorrt_rtx",
        "fp16",
        photos=Path("nowhere"),
        cache=cache,
        on_progress=progress.append,
    )


def test_an_engine_is_built_once_and_without_a_gpu_it_is_not_given_out(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    monkeypatch.setattr(builder, "find_gpus", lambda: _NO_GPU)
    progress: list[BuildProgress] = []
    entry = _small(cache, progress)
    assert entry.sidecar is not None
    assert entry.sidecar.parity is None
    assert cache.problem_of(entry) is None
    assert {"preparing", "compiling"} <= {told.step for told in progress}
    with pytest.raises(EngineError, match=r"not yet compared .* on NVIDIA H200.*mattemill engines build mattenet"):
        plan_of(cache, entry, "NVIDIA H200")
    progress.clear()
    assert _small(cache, progress) == entry
    assert progress == []


def test_where_there_is_a_gpu_an_engine_that_was_not_compared_is_compared_and_not_built_again(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = b"plan"
    card = card_of("mattenet")
    made = dataclasses.replace(recipe(), backend="tensorrt_rtx", model="mattenet")
    target = builder.Target("1.7", "portable", "portable")
    sidecar = dataclasses.replace(sidecar_of(plan, parity=None), recipe=made, target=target)
    with cache.lock(made, target) as scratch:
        (scratch / PLAN).write_bytes(plan)
        cache.publish(sidecar, scratch / PLAN)
    monkeypatch.setattr(builder, "find_gpus", lambda: _H200)
    monkeypatch.setattr(builder, "target_here", lambda *_: target)
    monkeypatch.setattr(builder, "recipe_of", lambda *_: made)
    asked: list[Task] = []

    def compare(task: Task, tell: object) -> object:
        asked.append(task)
        assert (Path(task.scratch) / PLAN).read_bytes() == plan
        return PARITY

    monkeypatch.setattr(builder, "_run", compare)
    entry = ensure_engine(card, cached_file(card), "tensorrt_rtx", "fp16", photos=Path("x"), cache=cache)
    assert [(task.compile, task.compare, task.gpu_name) for task in asked] == [(False, True, "NVIDIA H200")]
    assert plan_of(cache, entry, "NVIDIA H200") == plan
    with pytest.raises(EngineError, match="not yet compared"):
        plan_of(cache, entry, "GeForce RTX 5090")


def test_an_engine_that_does_not_agree_is_not_published(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "find_gpus", lambda: _H200)
    monkeypatch.setattr(builder, "target_here", lambda *_: H200)
    monkeypatch.setattr(builder, "recipe_of", lambda *_: recipe())

    def differ(task: Task, tell: object) -> None:
        (Path(task.scratch) / PLAN).write_bytes(b"plan")
        raise EngineError("model u2netp: the engine's output differs")

    monkeypatch.setattr(builder, "_run", differ)
    with pytest.raises(EngineError, match="differs"):
        ensure_engine(card_of("u2netp"), Path("x"), "tensorrt", "fp16", photos=Path("x"), cache=cache)
    assert cache.entries() == []
    assert list(cache.folder.glob(".*-*/")) == []


def test_tensorrt_builds_for_the_gpu_that_is_there_and_not_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("tensorrt")
    module.__version__ = "11.4.0.106"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert target_here("tensorrt", _H200) == H200
    with pytest.raises(DeviceError, match=r"no NVIDIA driver.*tensorrt_rtx builds without one"):
        target_here("tensorrt", _NO_GPU)
    with pytest.raises(DeviceError, match="there is no cuda:1"):
        target_here("tensorrt", _H200, gpu=1)
