"""The fake of capture is as strict as a GPU is quiet: what would be undefined there is an error here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_gpu import FakeContext, FakeDriver, FakeMemory, FakeStream, FakeTensorRt

from mattemill.kernels.cuda.errors import GraphError
from mattemill.kernels.cuda.graphs import CudaGraph, CudaGraphs

_SHAPE = (2, 3, 8, 8)
_BYTES = 4 * 2 * 3 * 8 * 8


class Case:
    """A context with its memory, that has run one pass."""

    def __init__(self) -> None:
        self.driver = FakeDriver()
        self.module = FakeTensorRt(self.driver)
        self.graphs = CudaGraphs(FakeCuda(self.driver))
        self.stream: FakeStream = self.driver.stream()
        runtime = self.module.Runtime(type("Logger", (), {"log": lambda *_: None})())
        self.engine = runtime.deserialize_cuda_engine(b"plan")
        self.context: FakeContext = self.engine.create_execution_context("user managed")
        self.x, self.y, self.arena = (self.driver.allocate(size) for size in (_BYTES, _BYTES, 2 * 1024))
        self.context.set_input_shape("x", _SHAPE)
        self.context.set_tensor_address("x", self.x.pointer)
        self.context.set_tensor_address("y", self.y.pointer)
        self.context.set_device_memory(self.arena.pointer, self.arena.nbytes)

    def run(self) -> None:
        assert self.context.execute_async_v3(self.stream.handle)
        self.stream.synchronise()

    def record(self, work: Callable[[], object] | None = None) -> CudaGraph:
        def whole() -> None:
            assert self.context.execute_async_v3(self.stream.handle)
            if work is not None:
                work()

        return self.graphs.record(self.stream.handle, whole)

    def launch(self, graph: CudaGraph) -> None:
        graph.launch(self.stream.handle)
        self.stream.synchronise()

    def set(self, memory: FakeMemory, value: float) -> None:
        self.driver.bytes_at(memory.pointer, memory.nbytes).view(np.float32)[:] = value

    def found(self, memory: FakeMemory) -> set[float]:
        return set(self.driver.bytes_at(memory.pointer, memory.nbytes).view(np.float32).tolist())


@pytest.fixture
def case() -> Case:
    made = Case()
    made.run()
    return made


def test_what_is_captured_runs_when_it_is_launched_and_not_before(case: Case) -> None:
    case.set(case.y, 0.0)
    case.set(case.x, 1.0)
    graph = case.record()
    case.stream.synchronise()
    assert case.found(case.y) == {0.0}
    for value in (1.0, 2.0):
        case.set(case.x, value)
        case.launch(graph)
        assert case.found(case.y) == {2 * value + 1}


def test_a_pass_cannot_be_captured_before_one_of_its_shapes_has_run() -> None:
    with pytest.raises(AssertionError):
        Case().record()


@pytest.mark.parametrize("call", ["synchronise", "allocate", "profile", "wait"])
def test_what_a_capture_forbids_invalidates_it_and_the_stream_is_usable_afterwards(case: Case, call: str) -> None:
    outside = case.driver.event()
    outside.record(case.driver.stream())
    forbidden: dict[str, Callable[[], object]] = {
        "synchronise": case.stream.synchronise,
        "allocate": lambda: case.driver.allocate(4),
        "profile": lambda: case.context.set_optimization_profile_async(0, case.stream.handle),
        "wait": lambda: case.stream.wait(outside),
    }

    def quietly() -> None:
        with pytest.raises(Exception, match="not permitted when stream is capturing"):
            forbidden[call]()

    with pytest.raises(GraphError, match="CAPTURE_INVALIDATED"):
        case.record(quietly)
    case.run()


def test_an_event_that_was_captured_cannot_be_waited_for_outside(case: Case) -> None:
    event = case.driver.event()
    case.record(lambda: event.record(case.stream))
    with pytest.raises(AssertionError, match="captured"):
        event.synchronise()


def test_a_replay_that_touches_memory_that_was_given_back_is_an_error(case: Case) -> None:
    graph = case.record()
    del case.y
    with pytest.raises(AssertionError, match="given back"):
        case.launch(graph)


def test_a_graph_whose_context_was_told_something_or_is_gone_cannot_be_launched(case: Case) -> None:
    graph = case.record()
    case.context.set_tensor_address("x", case.x.pointer)
    with pytest.raises(GraphError, match="told something since"):
        case.launch(graph)
    del case.context
    assert case.driver.wrong == ["a context went before its graph"]
    with pytest.raises(GraphError, match="after its context went"):
        case.launch(graph)


def test_a_context_that_goes_while_its_work_is_in_flight_is_noted(case: Case) -> None:
    assert case.context.execute_async_v3(case.stream.handle)
    del case.context
    assert case.driver.wrong == ["a context went while its work was in flight"]
