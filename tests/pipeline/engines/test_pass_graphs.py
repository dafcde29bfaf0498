"""CUDA graphs in the executor, with a driver, a TensorRT and a capture that are fakes. Nothing here ran on a GPU."""

from __future__ import annotations

import gc
import inspect
import itertools
import logging
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cuda import CUresult, FakeCuda
from fake_gpu import FakeDriver, FakeEngine, FakeTensorRt

from mattemill.kernels.cuda import pycuda_driver
from mattemill.kernels.cuda.graphs import CudaGraphs, DriverApi
from mattemill.pipeline.engines import open_gpu, pass_graphs
from mattemill.pipeline.engines.gpus import DriverFound, Gpu
from mattemill.pipeline.engines.graph_trial import ROUNDS
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.place import GraphUse
from mattemill.pipeline.engines.tensorrt_engine import TensorRtEngine
from mattemill.pipeline.errors import DeviceLostError, EngineError

_IMAGE = (3, 8, 8)
_TRIAL = 2 * (ROUNDS + 1)


class Case:
    """graphs: 'on' where the test is not about the trial."""

    def __init__(self, graphs: GraphUse = "on", memory: int = 1 << 40, **module: Any) -> None:
        self.driver = FakeDriver(memory)
        self.cuda = FakeCuda(self.driver)
        self.module = FakeTensorRt(self.driver, **module)
        self.lane = Lane(self.driver, graphs=CudaGraphs(self.cuda))  # type: ignore[arg-type]
        self.engine = self.open(graphs)
        assert self.module.engine is not None
        self.fake: FakeEngine = self.module.engine
        self.cuda.engine = self.fake
        self.engine._graphs._clock = lambda: self.fake.host_seconds
        self._seeds = itertools.count()

    def open(self, graphs: GraphUse) -> TensorRtEngine:
        buckets = (1, 2, 4, 8, 16)
        return TensorRtEngine(self.module, b"plan", self.lane, name="net", buckets=buckets, graphs=graphs)  # type: ignore[arg-type]

    def run(self, count: int, shape: tuple[int, ...] = _IMAGE, engine: TensorRtEngine | None = None) -> None:
        """A batch whose images no other had; its results must be right."""
        given = np.random.default_rng(next(self._seeds)).standard_normal((count, *shape)).astype(np.float32)
        np.testing.assert_array_equal((engine or self.engine).run({"x": given})["y"], 2 * given + 1)
        assert self.driver.wrong == []

    def ways(self) -> list[str]:
        """How the passes since the last look were put in."""
        found = [way for way, _ in self.fake.passes]
        self.fake.passes.clear()
        return found

    def close(self) -> None:
        self.lane.close()
        assert (self.cuda.templates, self.cuda.graphs) == ({}, {})
        assert (self.driver.used, self.driver.wrong, self.fake.contexts) == (0, [], [])


@pytest.mark.parametrize("use", ["auto", "on", "off"])
def test_results_are_the_same_with_graphs_and_without_whatever_the_batches(use: GraphUse) -> None:
    case = Case(use)
    for _ in range(2 * _TRIAL):
        for count in (1, 2, 3, 8, 16, 40):
            case.run(count)
    assert bool(case.cuda.graphs) == (use != "off")
    assert any(way == "graph" for way in case.ways()) == (use != "off")
    case.close()


def test_a_pass_runs_eagerly_twice_and_from_then_on_as_a_graph() -> None:
    case = Case()
    for _ in range(4):
        case.run(16)
    assert case.ways() == ["eager", "eager", "graph", "graph", "graph"], "one launch is compared with its pass"
    assert case.cuda.made == 1


def test_two_batches_in_flight_have_a_graph_each() -> None:
    case = Case()
    for _ in range(4):
        case.run(32)
    assert case.ways() == ["eager", "eager", *["eager", "graph"] * 2, *["graph"] * 4]
    assert len(case.cuda.graphs) == 2
    assert len(case.fake.contexts) == 3, "each graph has a context of its own"


def test_shapes_of_several_profiles_have_graphs_that_do_not_disturb_each_other() -> None:
    small, large = ((1, 1, 8, 8), (2, 1, 8, 8), (16, 1, 8, 8)), ((1, 1, 32, 32), (1, 1, 32, 32), (2, 1, 64, 64))
    case = Case(profiles=[small, large])
    for _ in range(6):
        for shape in ((1, 64, 32), (1, 8, 8)):
            case.run(2, shape)
    case.ways()
    for shape in ((1, 64, 32), (1, 8, 8), (1, 64, 32)):
        case.run(2, shape)
    assert case.ways() == ["graph"] * 3
    case.close()


def test_a_graph_goes_when_the_slot_that_it_uses_grows() -> None:
    case = Case()
    case.lane.arena(1 << 20)  # so that this does not
    for _ in range(3):
        case.run(8)
    assert len(case.cuda.graphs) == 1
    case.run(16)
    assert case.cuda.graphs == {}
    case.ways()
    for _ in range(3):
        case.run(8)
    assert case.ways() == ["eager", "eager", "graph", "graph"], "it is made anew for the new memory"
    case.close()


def test_all_graphs_go_when_the_arena_moves() -> None:
    case = Case()
    for _ in range(3):
        case.run(8)
    other = case.open("off")
    other_fake = case.module.engine
    assert other_fake is not None
    other_fake.arena_bytes = 50_000
    case.run(8, engine=other)
    case.ways()
    case.run(8)
    assert (case.ways(), case.cuda.graphs) == (["eager"], {})
    for _ in range(2):
        case.run(8)
    assert case.ways() == ["eager", "graph", "graph"]
    del other_fake
    case.close()


def test_nothing_of_a_graph_is_left_when_the_lane_is_closed() -> None:
    case = Case("auto")
    for _ in range(4):
        case.run(40)
    assert case.cuda.graphs
    case.close()


def test_a_graph_that_cannot_be_destroyed_does_not_keep_the_rest() -> None:
    case = Case()
    for _ in range(3):
        case.run(40)
    case.cuda.faults["cuGraphExecDestroy"] = CUresult.CUDA_ERROR_INVALID_HANDLE
    case.lane.close()
    assert len(case.cuda.graphs) == 1
    assert case.driver.used == 0


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (
            lambda case: setattr(case.fake, "capture_fault", "Error Code 1: not permitted"),
            "Error Code 1: not permitted",
        ),
        (lambda case: setattr(case.fake, "capture_fault", ""), "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
        (lambda case: case.cuda.faults.update(cuStreamBeginCapture=CUresult.CUDA_ERROR_INVALID_VALUE), "BeginCapture"),
        (lambda case: case.cuda.faults.update(cuGraphInstantiate=CUresult.CUDA_ERROR_OUT_OF_MEMORY), "OUT_OF_MEMORY"),
        (lambda case: setattr(case.fake, "contexts_left", 1), "OutOfMemory"),
        (lambda case: case.cuda.faults.update(cuGraphLaunch=CUresult.CUDA_ERROR_INVALID_VALUE), "cuGraphLaunch failed"),
    ],
    ids=["refused", "invalidated", "no capture", "no memory", "no context", "no launch"],
)
def test_a_graph_that_cannot_be_made_is_told_once_and_every_batch_is_still_right(
    break_it: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case()
    case.run(32)
    break_it(case)
    for _ in range(4):
        case.run(32)
    assert "graph" not in case.ways()
    assert case.lane.compute.captured is None  # type: ignore[attr-defined]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "graphs model=net off" in warnings[0]
    assert reason in warnings[0]
    gc.collect()
    assert len(case.fake.contexts) == 1, "nothing is kept of what failed"
    assert case.engine._caps.of(_IMAGE, 16) == 16, "it is no reason for smaller batches"
    case.close()


def test_a_context_that_needs_more_working_memory_than_there_is_runs_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case()
    case.run(8)
    make = case.fake.create_execution_context

    def hungry(strategy: str) -> Any:
        made = make(strategy)
        made.update_device_memory_size_for_shapes = lambda: 1 << 30  # type: ignore[method-assign, union-attr]
        return made

    monkeypatch.setattr(case.fake, "create_execution_context", hungry)
    for _ in range(2):
        case.run(8)
    assert case.ways() == ["eager"] * 3
    assert "and 1073741824 are needed" in caplog.text
    case.close()


def test_a_launch_that_fails_later_is_run_eagerly_and_ends_graphs(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(3):
        case.run(32)
    case.cuda.faults["cuGraphLaunch"] = CUresult.CUDA_ERROR_OUT_OF_MEMORY
    case.ways()
    for _ in range(2):
        case.run(32)
    assert case.ways() == ["eager"] * 4
    assert (case.cuda.graphs, caplog.text.count("graphs model=net off")) == ({}, 1)
    case.close()


def test_a_graph_that_gives_something_else_than_its_pass_is_not_used(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case()
    case.run(8)
    monkeypatch.setattr(case.cuda, "cuGraphLaunch", lambda hGraphExec, hStream: (CUresult.CUDA_SUCCESS,))
    for _ in range(3):
        case.run(8)
    assert "the graph does not give what its pass gave" in caplog.text
    assert case.cuda.graphs == {}
    case.close()


def test_what_tensorrt_said_of_a_capture_is_not_taken_for_the_reason_of_the_next_failure() -> None:
    case = Case()
    case.fake.capture_fault = ""
    for _ in range(3):
        case.run(8)
    case.fake.faults = ["Error Code 3: API Usage Error"]
    with pytest.raises(EngineError, match=r"refused on cuda:0 \(Error Code 3: API Usage Error\)$"):
        case.run(8)


def test_a_gpu_that_is_lost_in_a_launch_is_lost() -> None:
    case = Case()
    for _ in range(3):
        case.run(8)
    case.cuda.faults["cuGraphLaunch"] = CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
    with pytest.raises(DeviceLostError, match=r"CUDA_ERROR_ILLEGAL_ADDRESS.*the process must be replaced"):
        case.run(8)


def test_out_of_memory_takes_the_graphs_and_then_halves_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(3):
        case.run(5)  # as 4 and 1: both slots have a graph
    assert len(case.cuda.graphs) == 2
    case.driver.memory = 24 * 1024  # a slot of 8 and its arena take 20 kB, a slot of 16 alone 24
    case.fake.passes.clear()
    case.run(20)
    assert [batch for _, batch in case.fake.passes] == [8, 4, 4, 4], "as without graphs"
    assert case.cuda.graphs == {}
    assert caplog.text.count("out of memory; theirs is given back") == 1
    case.close()


def test_memory_that_graphs_gave_back_may_do_for_the_batch_as_it_is() -> None:
    case = Case()
    for _ in range(3):
        case.run(17)  # as 16 and 1
    case.fake.faults = ["Error Code 2: OutOfMemory (Requested size was 1 bytes.)"]
    case.run(8)
    assert case.fake.passes[-1] == ("eager", 8)
    assert case.cuda.graphs == {}
    assert case.engine._caps.of(_IMAGE, 16) == 16
    case.close()


def test_out_of_memory_without_graphs_halves_and_leaves_graphs_for_what_fits() -> None:
    case = Case()
    case.driver.memory = 24 * 1024
    for _ in range(3):
        case.run(20)
    assert {batch for way, batch in case.fake.passes if way == "graph"} == {4}
    case.close()


def device_arrays(case: Case, count: int) -> tuple[Any, Any]:
    nbytes = count * int(np.prod(_IMAGE)) * 4
    return case.driver.allocate(nbytes), case.driver.allocate(nbytes)


def put(case: Case, into: Any, out: Any, count: int) -> None:
    """One pass over whatever is there, which is not waited for."""
    case.engine.enqueue({"x": (count, *_IMAGE)}, {"x": into.pointer, "y": out.pointer})


def enqueue(case: Case, into: Any, out: Any, count: int) -> None:
    given = np.random.default_rng(next(case._seeds)).standard_normal((count, *_IMAGE)).astype(np.float32)
    case.driver.copy_in(into.pointer, given, case.lane.compute)
    put(case, into, out, count)
    result = np.empty_like(given)
    case.driver.copy_out(result, out.pointer, case.lane.compute)
    case.lane.compute.synchronise()
    np.testing.assert_array_equal(result, 2 * given + 1)


def test_passes_over_memory_that_is_new_each_time_make_no_graphs_and_are_not_remembered_for_ever() -> None:
    case = Case()
    kept = []
    for _ in range(pass_graphs.NOTED + 20):
        kept.append(device_arrays(case, 2))
        enqueue(case, *kept[-1], 2)
    assert set(case.ways()) == {"eager"}
    assert case.cuda.made == 0
    assert len(case.fake.contexts) == 1
    assert len(case.engine._graphs._noted) == pass_graphs.NOTED


def test_passes_over_the_same_memory_of_the_device_become_a_graph() -> None:
    case = Case("auto")
    into, out = device_arrays(case, 2)
    for _ in range(2 + _TRIAL):
        enqueue(case, into, out, 2)
    case.ways()
    enqueue(case, into, out, 2)
    assert case.ways() == ["graph"]
    del into, out
    case.close()


def test_a_pass_over_the_devices_memory_that_does_not_fit_takes_the_graphs_memory_and_is_put_in_again() -> None:
    case = Case()
    into, out = device_arrays(case, 2)
    for _ in range(3):
        enqueue(case, into, out, 2)
    assert case.engine.graphs_held == 1
    case.fake.faults = ["Error Code 2: OutOfMemory (Requested size was 1 bytes.)"]
    enqueue(case, into, out, 1)
    assert case.engine.graphs_held == 0
    case.fake.faults = ["Error Code 2: OutOfMemory (Requested size was 1 bytes.)"]
    with pytest.raises(EngineError, match="OutOfMemory"):
        put(case, into, out, 1)
    del into, out
    case.close()


def test_a_trial_waits_for_the_pass_before_where_nothing_else_does() -> None:
    case = Case("auto")
    into, out = device_arrays(case, 2)
    for _ in range(2 + _TRIAL + 1):
        put(case, into, out, 2)
    assert case.ways()[-1] == "graph"
    assert case.engine._graphs._kept
    assert all(kept.trial is None for kept in case.engine._graphs._kept.values())


def test_a_graph_that_runs_is_waited_for_before_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_graphs, "KEPT", 1)
    monkeypatch.setattr(pass_graphs, "IDLE", 0)
    case = Case()
    one, other = device_arrays(case, 2), device_arrays(case, 2)
    for arrays in (one, one, other, one, other):
        put(case, *arrays, 2)
    assert case.ways() == ["eager", "eager", "graph", "eager", "graph", "eager", "graph"]
    assert case.driver.wrong == []


def test_there_are_never_more_graphs_than_are_kept_and_too_many_kinds_of_pass_do_not_make_them_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pass_graphs, "KEPT", 2)
    case = Case()
    for _ in range(6):
        for count in (1, 2, 4, 8):
            case.run(count)
    before = case.cuda.made
    for _ in range(6):
        for count in (1, 2, 4, 8):
            case.run(count)
    assert len(case.cuda.graphs) == 2
    assert case.cuda.made == before
    monkeypatch.setattr(pass_graphs, "IDLE", 10)
    for _ in range(12):
        case.run(8)
    assert case.ways()[-1] == "graph", "one that was long idle makes room"
    assert len(case.cuda.graphs) == 2
    case.close()


def test_a_graph_that_pays_is_kept_after_its_trial_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    case = Case("auto")
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        case.run(16)
    case.ways()
    for _ in range(_TRIAL):
        case.run(16)
    assert case.ways() == ["eager", "graph"] * (ROUNDS + 1)
    for _ in range(3):
        case.run(16)
    assert case.ways() == ["graph"] * 3
    told = [record.getMessage() for record in caplog.records if "graph model=" in record.getMessage()]
    assert len(told) == 1
    assert "kept=True eager_host_us=100.0 graph_host_us=10.0 eager_ms=1.000 graph_ms=1.000" in told[0]
    case.close()


@pytest.mark.parametrize(("seconds", "milliseconds_less"), [(99e-6, 0.0), (10e-6, -0.5)], ids=["host", "device"])
def test_a_graph_that_does_not_pay_goes_and_is_not_made_again(seconds: float, milliseconds_less: float) -> None:
    case = Case("auto")
    case.cuda.launch_seconds, case.cuda.milliseconds_less = seconds, milliseconds_less
    for _ in range(2 + _TRIAL):
        case.run(16)
    case.ways()
    for _ in range(5):
        case.run(16)
    assert case.ways() == ["eager"] * 5
    assert (case.cuda.graphs, case.cuda.made) == ({}, 1)
    case.close()


def test_without_bindings_passes_run_eagerly_and_graphs_that_were_asked_for_are_an_error() -> None:
    driver = FakeDriver()
    module = FakeTensorRt(driver)
    lane = Lane(driver, no_graphs="CUDA graphs need cuda-bindings")  # type: ignore[arg-type]
    engine = TensorRtEngine(module, b"plan", lane, name="net", buckets=(1, 2), graphs="auto")  # type: ignore[arg-type]
    for _ in range(3):
        engine.run({"x": np.zeros((2, *_IMAGE), np.float32)})
    assert module.engine is not None
    assert {way for way, _ in module.engine.passes} == {"eager"}
    with pytest.raises(EngineError, match=r"model net: cuda_graphs = 'on' cannot be had on cuda:0: .*cuda-bindings"):
        TensorRtEngine(module, b"plan", lane, name="net", buckets=(1, 2), graphs="on")  # type: ignore[arg-type]


@pytest.mark.parametrize("there", [True, False])
def test_a_lane_is_opened_without_bindings_too_and_knows_why_it_has_no_graphs(
    there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    driver = FakeDriver()
    driver.close = lambda: None  # type: ignore[attr-defined]
    gpu = Gpu(0, "NVIDIA H200", "9.0", 141 << 30)
    monkeypatch.setattr(open_gpu, "find_gpus", lambda: DriverFound("13.0", (gpu,), None))
    monkeypatch.setattr(pycuda_driver, "PycudaDriver", lambda index: driver)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", ModuleType("cuda.bindings.driver") if there else None)
    lane = open_gpu.open_lane()
    assert (lane.graphs is not None) == there
    assert ("need cuda-bindings" in lane.no_graphs) == ("graphs=none why=" in caplog.text) == (not there)


def test_the_fake_has_what_the_protocol_has_with_the_same_parameters() -> None:
    names = [name for name, value in vars(DriverApi).items() if inspect.isfunction(value) and name.startswith("cu")]
    assert len(names) == 7
    for name in names:
        ours, theirs = inspect.signature(getattr(DriverApi, name)), inspect.signature(getattr(FakeCuda, name))
        assert list(ours.parameters) == list(theirs.parameters), name
