"""A job's networks on a GPU come out of the engine cache, built once, and nothing else runs in their place.

No GPU is needed: the process that builds and the executor are stand-ins; what is between them is real.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from engine_case import H200, recipe

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines import builder, gpus, open_engine, place, tensorrt_api, tensorrt_engine
from mattemill.pipeline.engines.build_process import PLAN, Task
from mattemill.pipeline.engines.builder import BuildProgress
from mattemill.pipeline.engines.gpus import DriverFound, Gpu
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.place import EnginesFound, Place
from mattemill.pipeline.engines.sidecar import Parity
from mattemill.pipeline.errors import DeviceError, EngineError
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.models.load import ensure_engines, load_matting, load_saliency
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.stages.cut import CutStage
from mattemill.pipeline.stages.stage import Done

_PLACE = Place("cuda:0", "tensorrt", "fp16")
_FOUND = DriverFound("13.0", (Gpu(0, "NVIDIA H200", "9.0", 150 << 30),), None)
_LANE = object()


class PlanInOnnxRuntime:
    """In place of the executor: a plan is here the network's own file, which ONNX Runtime runs."""

    made: ClassVar[list[PlanInOnnxRuntime]] = []

    def __init__(
        self, module: Any, plan: bytes, lane: Any, *, name: str, buckets: tuple[int, ...], graphs: str
    ) -> None:
        assert lane is _LANE
        self._inner = OnnxRuntimeEngine(Path(plan.decode()), outputs=None, name=name)
        self.device, self.batch_limit, self.name, self.graphs = "cuda:0", 16, name, graphs
        self.calls = 0
        PlanInOnnxRuntime.made.append(self)

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
        self.calls += 1
        return self._inner.run(inputs)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """A machine with an H200 and TensorRT, an empty cache; what was built there."""
    tasks: list[Task] = []

    def build(task: Task, tell: Any) -> Parity:
        tell("compiling", 0.5, "layers")
        tasks.append(task)
        (Path(task.scratch) / PLAN).write_bytes(task.network.encode())
        return Parity(0.001, 0.01, 0.01, 3, task.gpu_name)

    monkeypatch.setenv("MATTEMILL_ENGINES", str(tmp_path / "engines"))
    for module in (builder, gpus, place):
        monkeypatch.setattr(module, "find_gpus", lambda: _FOUND)
    monkeypatch.setattr(place, "find_engines", lambda: EnginesFound("", dict.fromkeys(place.PREFERRED, "")))
    monkeypatch.setattr(builder, "target_here", lambda *_: H200)
    monkeypatch.setattr(builder, "recipe_of", lambda card, path, *_: recipe(model=card.name))
    monkeypatch.setattr(builder, "_run", build)
    monkeypatch.setattr(tensorrt_api, "import_tensorrt", lambda backend: None)
    monkeypatch.setattr(tensorrt_engine, "TensorRtEngine", PlanInOnnxRuntime)
    monkeypatch.setattr(open_engine, "_lane", lambda gpu: _LANE)
    monkeypatch.setattr(PlanInOnnxRuntime, "made", [])
    return tasks


def test_a_network_is_built_for_the_first_worker_and_found_by_the_next(
    built: list[Task], u2netp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert load_saliency("u2netp", _PLACE).device == "cuda:0"
    assert caplog.text.count("engine model=u2netp is not in the cache") == 1
    (task,) = built
    assert (task.compile, task.compare, task.gpu_name) == (True, True, "NVIDIA H200")
    assert sorted(path.suffix for path in Path(task.photos).iterdir()) == [".jpg", ".jpg", ".md", ".webp"]


def test_graphs_are_made_as_the_place_says_and_never_in_tensorrt_rtx(built: list[Task], u2netp: Path) -> None:
    load_saliency("u2netp", _PLACE)
    for use in ("auto", "on"):
        load_matting(Place("cuda:0", "tensorrt", "fp16", use))  # type: ignore[arg-type]
    load_saliency("u2netp", Place("cuda:0", "tensorrt_rtx", "fp16", "auto"))
    assert [engine.graphs for engine in PlanInOnnxRuntime.made] == ["off", "auto", "on", "off"]


def test_the_job_builds_every_network_that_it_runs_before_its_workers_start(built: list[Task], u2netp: Path) -> None:
    told: list[BuildProgress] = []
    ensure_engines(JobConfig(), _PLACE, told.append)
    assert [task.recipe.model for task in built] == ["u2netp", "mattenet"]
    assert {progress.step for progress in told} == {"compiling"}
    ensure_engines(JobConfig(), _PLACE, told.append)
    load_matting(_PLACE)
    assert len(built) == 2


def test_a_gpu_that_is_not_there_is_an_error(built: list[Task], u2netp: Path) -> None:
    with pytest.raises(DeviceError, match=r"cuda:1 tensorrt fp16: there is no GPU 1"):
        load_saliency("u2netp", Place("cuda:1", "tensorrt", "fp16"))
    assert built == []


def test_on_the_cpu_nothing_is_built(built: list[Task], u2netp: Path) -> None:
    ensure_engines(JobConfig(), place.CPU, lambda progress: None)
    assert load_saliency("u2netp").device == "cpu"
    load_matting()
    assert PlanInOnnxRuntime.made == []
    assert built == []


def test_what_progress_raises_ends_the_build_and_leaves_no_engine(built: list[Task], u2netp: Path) -> None:
    def stop(progress: BuildProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_engines(JobConfig(), _PLACE, stop)
    assert built == []
    ensure_engines(JobConfig(), _PLACE, lambda progress: None)
    assert len(built) == 2


def test_the_cut_stage_runs_its_networks_in_the_cached_engines_and_says_so(
    built: list[Task], u2netp: Path, sample_photos: Path
) -> None:
    data = (sample_photos / "astronaut.jpg").read_bytes()
    photo = Photo(ImageRef("photo", ""), read_header(data), np.frombuffer(data, np.uint8))
    on_gpu = CutStage(JobConfig())([(photo,)])[0]
    assert isinstance(on_gpu, Done)
    assert set(on_gpu.facts.device.values()) == {"cuda:0 tensorrt fp16"}
    assert {engine.name: engine.calls > 0 for engine in PlanInOnnxRuntime.made} == {"u2netp": True, "mattenet": True}
    on_cpu = CutStage(JobConfig(device="cpu"))([(photo,)])[0]
    assert isinstance(on_cpu, Done)
    assert set(on_cpu.facts.device.values()) == {"cpu"}
    assert np.array_equal(on_gpu.output.pixels, on_cpu.output.pixels)


def test_an_engine_that_differs_from_onnxruntime_ends_the_job_and_is_not_replaced(
    built: list[Task], u2netp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(task: Task, tell: Any) -> Parity:
        raise EngineError("model u2netp: the engine's output differs from ONNX Runtime's")

    monkeypatch.setattr(builder, "_run", differs)
    with pytest.raises(EngineError, match="differs"):
        CutStage(JobConfig())


def test_tensorrt_rtx_that_fails_where_it_was_doubted_says_so(
    built: list[Task], u2netp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(task: Task, tell: Any) -> Parity:
        raise EngineError("model u2netp: the engine cannot be loaded on cuda:0")

    monkeypatch.setattr(builder, "_run", refused)
    monkeypatch.setattr(open_engine, "rtx_capabilities", lambda: ("8.9", "12.0"))
    with pytest.raises(EngineError, match=r"cannot be loaded on cuda:0.*refuse NVIDIA H200.*another engine"):
        load_saliency("u2netp", Place("cuda:0", "tensorrt_rtx", "fp16"))


def test_the_networks_of_one_thread_share_a_lane_and_another_thread_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from mattemill.pipeline.engines import open_gpu

    monkeypatch.setattr(open_engine, "_HERE", open_engine._Here())
    monkeypatch.setattr(open_engine.atexit, "register", lambda function: None)
    monkeypatch.setattr(open_gpu, "open_lane", lambda gpu: SimpleNamespace(gpu=gpu, close=lambda: None))
    ours = open_engine._lane(0)
    assert open_engine._lane(0) is ours
    assert open_engine._lane(1) is not ours
    others: list[Any] = []
    thread = threading.Thread(target=lambda: others.append(open_engine._lane(0)))
    thread.start()
    thread.join()
    assert others[0] is not ours
