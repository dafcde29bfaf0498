"""A driver and a TensorRT that are fakes, to test the executor's logic without a GPU. They prove nothing of a GPU.

What they are strict about is what a GPU is quietly strict about: work happens only when it is waited for, in the order
that streams and events allow; a pinned array is read when its copy runs, not when it is asked for; new memory is full
of NaN; memory that was given back cannot be touched; an arena that is too small, a shape outside of the profile, or an
address that was never set is an error. What a stream is given while it is captured does not run; see fake_cuda.py for
that and for what becomes of it. A context that goes before its work or its graphs is noted in `FakeDriver.wrong`.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class FakeCudaError(Exception):
    """What a driver raises; like pycuda's, of no class that the code knows."""


class FakeMemory:
    def __init__(self, pointer: int, nbytes: int) -> None:
        self.pointer, self.nbytes = pointer, nbytes


class Node:
    """An entry of a capture. context, state: what it came from, and how that was then."""

    def __init__(self, work: Callable[[], None], context: FakeContext | None) -> None:
        self.work = work
        self.context = weakref.ref(context) if context is not None else None
        self.state = context.changes if context is not None else 0
        self.batch = context.shapes["x"][0] if context is not None else 0


class FakeStream:
    _handles = itertools.count(0x1000)

    def __init__(self, driver: FakeDriver) -> None:
        self.handle = next(self._handles)
        self._driver = driver
        self.waiting: list[Callable[[], None]] = []
        self.captured: list[Node] | None = None  # not None while it is captured
        self.invalid = False
        driver.by_handle[self.handle] = self

    def add(self, work: Callable[[], None], context: FakeContext | None = None) -> None:
        if self.captured is None:
            self.waiting.append(work)
        else:
            self.captured.append(Node(work, context))

    def forbid_in_capture(self, call: str) -> None:
        """Of this call; it invalidates the capture."""
        if self.captured is not None:
            self.invalid = True
            raise FakeCudaError(f"{call} failed: operation not permitted when stream is capturing")

    def run_until(self, length: int = 0) -> None:
        """Run what is waiting until only `length` entries are left."""
        while len(self.waiting) > length:
            self.waiting.pop(0)()

    def synchronise(self) -> None:
        self.forbid_in_capture("cuStreamSynchronize")
        self.run_until()
        self._driver.raise_sticky()

    def wait(self, event: FakeEvent) -> None:
        at = event.point  # of this recording, not of a later one
        assert at is not None, "waits for an event that was never recorded"
        self.forbid_in_capture("cuStreamWaitEvent for an event from outside")
        assert not at.captured, "waits outside for an event that was captured"
        self.add(at.reach)


class _Point:
    def __init__(self, stream: FakeStream, driver: FakeDriver) -> None:
        self.stream, self.reached, self.at = stream, False, 0.0
        self.captured = stream.captured is not None
        self._driver = driver
        stream.add(self._mark)

    def _mark(self) -> None:
        self.reached, self.at = True, self._driver.milliseconds

    def reach(self) -> None:
        while not self.reached:
            self.stream.run_until(len(self.stream.waiting) - 1)


class FakeEvent:
    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self.point: _Point | None = None

    def record(self, stream: Any | None = None) -> None:
        assert stream is not None, "recorded in the default stream"
        self.point = _Point(stream, self._driver)

    def synchronise(self) -> None:
        assert self.point is not None
        assert not self.point.captured, "waits for an event that was captured"
        self.point.reach()
        self._driver.raise_sticky()

    def milliseconds_since(self, start: Any) -> float:
        assert self.point is not None
        assert self.point.reached
        assert start.point.reached
        return float(self.point.at - start.point.at)


class FakeDriver:
    """memory: bytes of the device; more is 'out of memory'. largest: bytes that were allocated at once.

    milliseconds: of work that the device has done. wrong: what would be undefined behaviour, and cannot be raised.
    """

    name = "a fake"

    def __init__(self, memory: int = 1 << 40) -> None:
        self.memory = memory
        self.used = self.largest = 0
        self.by_handle: dict[int, FakeStream] = {}
        self.sticky: str | None = None
        self.milliseconds = 0.0
        self.wrong: list[str] = []
        self._blocks: dict[int, npt.NDArray[np.uint8]] = {}
        self._next = 0x7F0000000000

    def raise_sticky(self) -> None:
        if self.sticky is not None:
            raise FakeCudaError(self.sticky)

    def allocate(self, nbytes: int) -> FakeMemory:
        for stream in self.by_handle.values():
            stream.forbid_in_capture("cuMemAlloc")
        if self.used + nbytes > self.memory:
            raise FakeCudaError("cuMemAlloc failed: out of memory")
        block = np.full(-(-nbytes // 4), np.nan, np.float32).view(np.uint8)[:nbytes]
        memory = FakeMemory(self._next, nbytes)
        self._next += (nbytes // 4096 + 2) * 4096
        self._blocks[memory.pointer] = block
        self.used += nbytes
        self.largest = max(self.largest, self.used)
        weakref.finalize(memory, self._free, memory.pointer, nbytes)
        return memory

    def _free(self, pointer: int, nbytes: int) -> None:
        self._blocks.pop(pointer)
        self.used -= nbytes

    def bytes_at(self, pointer: int, nbytes: int) -> npt.NDArray[np.uint8]:
        assert pointer in self._blocks, "memory that was given back, or never had"
        assert nbytes <= self._blocks[pointer].size, "beyond the end of the memory"
        return self._blocks[pointer][:nbytes]

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.full(shape, np.nan, dtype)

    def copy_in(self, pointer: int, host: npt.NDArray[Any], stream: Any | None = None) -> None:
        assert stream is not None, "a copy in the default stream"

        def work() -> None:
            self.bytes_at(pointer, host.nbytes)[:] = np.ravel(host).view(np.uint8)

        stream.add(work)

    def copy_out(self, host: npt.NDArray[Any], pointer: int, stream: Any | None = None) -> None:
        assert stream is not None, "a copy in the default stream"

        def work() -> None:
            host[...] = self.bytes_at(pointer, host.nbytes).view(host.dtype).reshape(host.shape)

        stream.add(work)

    def fill(self, pointer: int, value: int, nbytes: int, stream: Any | None = None) -> None:
        assert stream is not None, "a fill in the default stream"

        def work() -> None:
            self.bytes_at(pointer, nbytes)[:] = value

        stream.add(work)

    def stream(self) -> FakeStream:
        return FakeStream(self)

    def event(self) -> FakeEvent:
        return FakeEvent(self)


class FakeContext:
    """Computes y[i] = 2 * x[i] + i-independent 1, over memory of the driver, when its stream gets there.

    changes: how often it was told something; a graph is right only as long as its context was told nothing since.
    """

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._arena = (0, -1)
        self.batches: list[int] = []
        self.changes = 0
        self._flushed = False  # by an eager pass, of what its shapes have changed
        self._flying: list[int] = []
        self.graphs: set[int] = set()
        weakref.finalize(self, _gone, self._flying, self.graphs, engine.driver.wrong)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._engine.driver.by_handle[stream_handle].forbid_in_capture("set_optimization_profile_async")
        self.profile = profile_index
        self.shapes = {}
        self._changed()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.profiles[self.profile]
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            self._engine.say("IExecutionContext::setInputShape: not in the profile")
            return False
        self.shapes[name] = shape
        self._changed()
        return True

    def _changed(self) -> None:
        self.changes += 1
        self._flushed = False

    def infer_shapes(self) -> list[str]:
        return [name for name in ("x",) if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["x"]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        self.changes += 1
        return memory != 0

    def update_device_memory_size_for_shapes(self) -> int:
        return self._engine.arena_bytes * self.shapes["x"][0]

    def set_device_memory(self, memory: int, size: int) -> None:
        self._arena = (memory, size)
        self.changes += 1

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, driver = self._engine, self._engine.driver
        assert stream_handle in driver.by_handle, "not a stream of the driver's"
        stream = driver.by_handle[stream_handle]
        assert self._addresses.keys() == {"x", "y"}
        needed = self.update_device_memory_size_for_shapes()
        assert self._arena[1] >= needed, "the arena is too small"
        fault = engine.faults.pop(0) if engine.faults else None
        if stream.captured is not None:
            fault = engine.capture_fault if self._flushed else "a pass whose shapes were just changed is captured"
            stream.invalid = fault is not None
            if fault == "":  # it goes on nevertheless; the end of the capture tells
                engine.say("Error Code 2: OutOfMemory, and the pass goes on")
                return True
        if fault is not None:
            engine.say(fault)
            return False
        shape, (x, y), (arena, _) = self.shapes["x"], (self._addresses["x"], self._addresses["y"]), self._arena
        nbytes = int(np.prod(shape)) * 4

        def work() -> None:
            driver.milliseconds += engine.milliseconds
            driver.bytes_at(arena, needed)[:] = 0x5A
            given = driver.bytes_at(x, nbytes).view(np.float32)
            driver.bytes_at(y, nbytes).view(np.float32)[:] = engine.function(given)

        if stream.captured is None:
            self._flushed = True
            self.batches.append(shape[0])
            engine.passes.append(("eager", shape[0]))
            engine.host_seconds += engine.eager_seconds
            stream.add(self.counted(work))
        else:
            stream.add(work, self)
        return True

    def counted(self, work: Callable[[], None]) -> Callable[[], None]:
        """In flight from now on until it has run; without this context, so that it can go before."""
        flying = self._flying
        flying.append(1)

        def run() -> None:
            flying.pop()
            work()

        return run


def _gone(flying: list[int], graphs: set[int], wrong: list[str]) -> None:
    if flying:
        wrong.append("a context went while its work was in flight")
    if graphs:
        wrong.append("a context went before its graph")


class FakeEngine:
    """One input 'x' and one output 'y' of the same shape."""

    num_io_tensors = 2

    def __init__(self, driver: FakeDriver, profiles: list[Range], say: Callable[[str], None]) -> None:
        self.driver, self.profiles, self.say = driver, profiles, say
        self.arena_bytes = 1024
        self.faults: list[str | None] = []
        self.capture_fault: str | None = None  # '': one that only the end of the capture shows
        self.passes: list[tuple[str, int]] = []  # how each was put into the stream, and its batch
        self.host_seconds, self.eager_seconds, self.milliseconds = 0.0, 100e-6, 1.0
        self.function: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] = lambda x: 2 * x + 1
        self._contexts: list[weakref.ref[FakeContext]] = []
        self.contexts_left: int | None = None  # that can be made
        self.dtype = "float32"

    @property
    def contexts(self) -> list[FakeContext]:
        """Those that there are, the oldest first."""
        return [context for one in self._contexts if (context := one()) is not None]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    def get_tensor_mode(self, name: str) -> str:
        return {"x": "input", "y": "output"}[name]

    def get_tensor_dtype(self, name: str) -> str:
        return self.dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        low, _, high = self.profiles[0]
        return tuple(a if a == b else -1 for a, b in zip(low, high, strict=True))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return list(self.profiles[profile_index])

    def create_execution_context(self, strategy: str) -> FakeContext | None:
        assert strategy == "user managed"
        if self.contexts_left is not None and self.contexts_left <= len(self.contexts):
            self.say("Error Code 2: OutOfMemory (a context's persistent memory)")
            return None
        made = FakeContext(self)
        self._contexts.append(weakref.ref(made))
        return made


class FakeLogger:
    def __init__(self) -> None:
        pass


class FakeTensorRt:
    """The module. A plan is the bytes b'plan'; anything else is refused."""

    __version__ = "0.fake"
    ILogger = FakeLogger
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    DataType = SimpleNamespace(FLOAT="float32")

    def __init__(self, driver: FakeDriver, profiles: list[Range] | None = None) -> None:
        self._driver = driver
        self._profiles = profiles if profiles is not None else [((1, 3, 8, 8), (8, 3, 8, 8), (16, 3, 8, 8))]
        self.engine: FakeEngine | None = None
        self.changed: Callable[[FakeEngine], None] = lambda engine: None

    def Runtime(self, logger: Any) -> Any:
        def say(text: str) -> None:
            logger.log(1, text)

        def deserialize(serialized_engine: bytes) -> FakeEngine | None:
            if serialized_engine != b"plan":
                say("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magic tag)")
                return None
            self.engine = FakeEngine(self._driver, self._profiles, say)
            self.changed(self.engine)
            return self.engine

        return SimpleNamespace(deserialize_cuda_engine=deserialize)
