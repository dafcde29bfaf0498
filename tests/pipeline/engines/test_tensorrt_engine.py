"""The executor's logic, with a driver and a TensorRT that are fakes (fake_gpu.py). Nothing here ran on a GPU."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import fake_gpu
import numpy as np
import pytest
from fake_gpu import FakeContext, FakeDriver, FakeEngine, FakeTensorRt

from mattemill.pipeline.engines import tensorrt_api
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.tensorrt_engine import TensorRtEngine
from mattemill.pipeline.errors import DeviceLostError, EngineError

_IMAGE = (3, 8, 8)


class Case:
    def __init__(self, memory: int = 1 << 40, **module: Any) -> None:
        self.driver = FakeDriver(memory)
        self.module = FakeTensorRt(self.driver, **module)
        self.lane = Lane(self.driver)  # type: ignore[arg-type]
        self.engine = self.open()

    def open(self, plan: bytes = b"plan") -> TensorRtEngine:
        return TensorRtEngine(self.module, plan, self.lane, name="net", buckets=(1, 2, 4, 8, 16))  # type: ignore[arg-type]

    @property
    def fake(self) -> FakeEngine:
        assert self.module.engine is not None
        return self.module.engine

    @property
    def batches(self) -> list[int]:
        return self.fake.contexts[0].batches


def images(count: int, shape: tuple[int, ...] = _IMAGE, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 16, 17, 40, 65])
def test_every_image_of_a_batch_of_any_size_gets_its_own_result(count: int) -> None:
    case = Case()
    engine: Engine = case.engine
    given = images(count)
    np.testing.assert_array_equal(engine.run({"x": given})["y"], 2 * given + 1)
    assert max(case.batches) <= 16


def test_runs_that_follow_each_other_do_not_see_each_others_memory() -> None:
    case = Case()
    for seed, count in enumerate((40, 3, 16, 1, 40)):
        given = images(count, seed=seed)
        np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)


def test_two_batches_are_in_flight_and_never_three() -> None:
    case = Case()
    flying: list[int] = []
    real_put, real_result = fake_gpu.FakeContext.execute_async_v3, case.engine._land
    count = 0

    def execute(self: FakeContext, stream_handle: int) -> bool:
        nonlocal count
        count += 1
        flying.append(count)
        return real_put(self, stream_handle)

    def land(*arguments: Any) -> None:
        nonlocal count
        real_result(*arguments)
        count -= 1

    case.fake.contexts[0].execute_async_v3 = execute.__get__(case.fake.contexts[0])  # type: ignore[method-assign]
    case.engine._land = land  # type: ignore[method-assign]
    case.engine.run({"x": images(80)})
    assert flying == [1, 2, 2, 2, 2]


def test_engines_of_one_lane_share_one_arena_as_large_as_the_hungriest_needs() -> None:
    case = Case()
    other = case.open()
    case.fake.arena_bytes = 50_000  # of the second
    first_run = images(16)
    case.engine.run({"x": first_run})
    before = case.driver.used
    np.testing.assert_array_equal(other.run({"x": first_run})["y"], 2 * first_run + 1)
    slot = 2 * first_run.nbytes
    assert case.driver.used - before == slot + 16 * (50_000 - 1024)
    np.testing.assert_array_equal(case.engine.run({"x": first_run})["y"], 2 * first_run + 1)


def test_the_arena_does_not_move_under_work_that_is_in_flight() -> None:
    case = Case()
    other = case.open()
    case.fake.arena_bytes = 50_000  # of the second
    given = images(4)
    into, out = case.driver.allocate(given.nbytes), case.driver.allocate(given.nbytes)
    case.driver.copy_in(into.pointer, given, case.lane.compute)
    case.engine.enqueue({"x": given.shape}, {"x": into.pointer, "y": out.pointer})
    np.testing.assert_array_equal(other.run({"x": given})["y"], 2 * given + 1)
    result = np.empty_like(given)
    case.driver.copy_out(result, out.pointer, case.lane.download)
    case.lane.download.synchronise()
    np.testing.assert_array_equal(result, 2 * given + 1)


def test_out_of_memory_halves_the_batch_of_that_shape_and_every_image_is_still_done() -> None:
    case = Case()
    case.driver.memory = 24 * 1024  # a slot of 8 and its arena take 20 kB, a slot of 16 alone 24
    given = images(20)
    np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)
    assert case.batches == [8, 4, 4, 4], "16 does not fit, 8 once, 4 twice"
    done = len(case.batches)
    case.engine.run({"x": given})
    assert max(case.batches[done:]) == 4, "the cap is remembered"


def test_out_of_memory_in_tensorrt_itself_halves_the_batch_too() -> None:
    case = Case()
    case.fake.faults = [None, "Error Code 2: OutOfMemory (Requested size was 1 bytes.)"]
    given = images(48)
    np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)
    assert case.batches[0] == 16
    assert set(case.batches[1:]) == {8}


def test_a_single_image_that_does_not_fit_is_an_error_that_says_so() -> None:
    case = Case()
    case.driver.memory = 100
    with pytest.raises(EngineError, match=r"model net: .*cuda:0 .*out of memory") as refused:
        case.engine.run({"x": images(16)})
    assert not isinstance(refused.value, DeviceLostError)
    case.driver.memory = 1 << 40
    case.engine.run({"x": images(1)})


def test_a_sticky_error_loses_the_device_for_every_engine_of_the_lane() -> None:
    case = Case()
    other = case.open()
    case.driver.sticky = "cuEventSynchronize failed: an illegal memory access was encountered"
    with pytest.raises(DeviceLostError, match=r"illegal memory access.*the process must be replaced"):
        case.engine.run({"x": images(1)})
    case.driver.sticky = None
    for engine in (case.engine, other):
        with pytest.raises(DeviceLostError, match="cannot be used in this process any more"):
            engine.run({"x": images(1)})


def test_another_error_fails_this_call_and_not_the_next() -> None:
    case = Case()
    case.fake.faults = ["Error Code 3: API Usage Error"]
    with pytest.raises(EngineError, match=r"model net: the forward pass was refused on cuda:0 \(Error Code 3"):
        case.engine.run({"x": images(2)})
    given = images(2)
    np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)


def test_an_output_that_is_not_finite_is_an_error_with_the_models_name() -> None:
    case = Case()
    case.fake.function = lambda x: np.where(np.arange(x.size) == 7, np.inf, x).astype(np.float32)
    with pytest.raises(EngineError, match="model net: output y is not finite on cuda:0"):
        case.engine.run({"x": images(4)})


def test_a_shape_that_is_in_no_profile_is_an_error_that_names_it() -> None:
    case = Case()
    with pytest.raises(EngineError, match=r"no profile for \{'x': \(3, 9, 8\)\}"):
        case.engine.run({"x": images(1, (3, 9, 8))})


@pytest.mark.parametrize("wrong", [{"z": images(1)}, {}, {"x": images(1), "z": images(1)}])
def test_inputs_of_other_names_are_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="it takes x"):
        Case().engine.run(wrong)


def test_the_profile_that_holds_the_shape_is_chosen_and_changed_when_the_shape_changes() -> None:
    small, large = ((1, 1, 8, 8), (2, 1, 8, 8), (16, 1, 8, 8)), ((1, 1, 32, 32), (1, 1, 32, 32), (2, 1, 64, 64))
    case = Case(profiles=[small, large])
    for shape in ((1, 8, 8), (1, 64, 32), (1, 8, 8)):
        given = images(5, shape)
        np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)
    assert case.engine.batch_limit == 16
    assert case.batches == [4, 1, 2, 2, 1, 4, 1]


def test_an_engine_of_one_fixed_shape_takes_any_number_of_images() -> None:
    fixed = ((1, 3, 8, 8),) * 3
    case = Case(profiles=[fixed])
    given = images(3)
    np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)
    assert case.batches == [1, 1, 1]


def test_work_on_the_device_is_put_into_the_compute_stream_and_not_waited_for() -> None:
    case = Case()
    shapes = {"x": (4, *_IMAGE)}
    assert case.engine.output_shapes(shapes) == {"y": (4, *_IMAGE)}
    given = images(4)
    case.engine.run({"x": given})  # the arena grows once
    into, out = case.driver.allocate(given.nbytes), case.driver.allocate(given.nbytes)
    case.driver.copy_in(into.pointer, given, case.lane.compute)
    case.engine.enqueue(shapes, {"x": into.pointer, "y": out.pointer})
    result = np.empty_like(given)
    case.driver.copy_out(result, out.pointer, case.lane.compute)
    assert len(case.lane.compute.waiting) == 3  # type: ignore[attr-defined]
    case.lane.compute.synchronise()
    np.testing.assert_array_equal(result, 2 * given + 1)


def test_a_plan_that_cannot_be_loaded_is_an_error_that_quotes_tensorrt() -> None:
    with pytest.raises(EngineError, match=r"model net: the engine cannot be loaded on cuda:0 \(.*magic tag"):
        Case().open(b"of another version")


def test_an_engine_whose_tensors_are_not_float32_is_refused() -> None:
    case = Case()
    case.module.changed = lambda engine: setattr(engine, "dtype", "float16")
    with pytest.raises(EngineError, match="x is float16 in the engine"):
        case.open()


def test_a_call_from_another_thread_is_an_error() -> None:
    case = Case()
    raised: list[BaseException] = []

    def call() -> None:
        try:
            case.engine.run({"x": images(1)})
        except EngineError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "another thread" in str(raised[0])


def test_closing_a_lane_gives_all_memory_back_and_leaves_the_gpu_last() -> None:
    driver = FakeDriver()
    used_when_left: list[int] = []
    lane = Lane(driver, "cuda:0", lambda: used_when_left.append(driver.used))  # type: ignore[arg-type]
    engine = TensorRtEngine(FakeTensorRt(driver), b"plan", lane, name="net", buckets=(1, 2))  # type: ignore[arg-type]
    engine.run({"x": images(5)})
    assert driver.used > 0
    lane.close()
    lane.close()
    assert used_when_left == [0]
    with pytest.raises(EngineError, match="cuda:0: is closed"):
        engine.run({"x": images(1)})


def test_a_driver_that_gives_the_default_stream_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    monkeypatch.setattr(fake_gpu.FakeStream, "_handles", iter([0, 0, 0]))
    with pytest.raises(EngineError, match="default stream"):
        Lane(driver)  # type: ignore[arg-type]


@pytest.mark.parametrize(("fake", "real"), [(FakeContext, "IExecutionContext"), (FakeEngine, "ICudaEngine")])
def test_the_fakes_have_what_the_protocols_have_with_the_same_parameters(fake: type, real: str) -> None:
    protocol = getattr(tensorrt_api, real)
    methods = [name for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"]
    assert len(methods) > 5
    for name in methods:
        ours, theirs = inspect.signature(getattr(protocol, name)), inspect.signature(getattr(fake, name))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_a_batch_that_has_no_smaller_one_in_its_profile_and_does_not_fit_is_an_error_of_the_engine_each_time() -> None:
    four = (4, *_IMAGE)
    case = Case(profiles=[(four, four, four)])
    for _ in range(2):
        case.fake.faults = ["Error Code 2: OutOfMemory (Requested size was 1 bytes.)"]
        with pytest.raises(EngineError, match="OutOfMemory"):
            case.engine.run({"x": images(4)})
    given = images(3)
    np.testing.assert_array_equal(case.engine.run({"x": given})["y"], 2 * given + 1)
