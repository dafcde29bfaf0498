"""A `cuda.bindings.driver` that is a fake, over the streams of fake_gpu.py: capture, graphs, launches.

Strict where CUDA leaves it to the caller: a graph whose context was told something since, or is gone, cannot be
launched, nor one that touches memory that was given back. Its functions have the parameters of the real ones.
"""

from __future__ import annotations

import itertools
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from fake_gpu import FakeDriver, FakeEngine, FakeStream, Node


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_HANDLE = 400
    CUDA_ERROR_ILLEGAL_STATE = 401
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


_OK = CUresult.CUDA_SUCCESS


class FakeCuda:
    """faults: what the next call of a function gives, by its name. templates, graphs: that were not destroyed."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self._numbers = itertools.count(1)
        self.faults: dict[str, CUresult] = {}
        self.templates: dict[int, list[Node]] = {}
        self.graphs: dict[int, list[Node]] = {}
        self.engine: FakeEngine | None = None  # told of launches
        self.launch_seconds, self.milliseconds_less = 10e-6, 0.0
        self.made = 0

    def CUstream(self, init_value: int) -> FakeStream:
        return self._driver.by_handle[init_value]

    def cuStreamBeginCapture(self, hStream: Any, mode: Any) -> tuple[Any, ...]:
        assert mode == "thread local"
        if hStream.captured is not None:
            return (CUresult.CUDA_ERROR_ILLEGAL_STATE,)
        if (fault := self._fault("cuStreamBeginCapture")) is None:
            hStream.captured, hStream.invalid = [], False
        return (fault or _OK,)

    def cuStreamEndCapture(self, hStream: Any) -> tuple[Any, ...]:
        if hStream.captured is None:
            return CUresult.CUDA_ERROR_ILLEGAL_STATE, None
        nodes, hStream.captured = hStream.captured, None
        fault = self._fault("cuStreamEndCapture")
        if hStream.invalid or fault is not None:
            return fault or CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None
        return _OK, self._put(self.templates, nodes)

    def cuGraphGetNodes(self, hGraph: Any, numNodes: int = 0) -> tuple[Any, ...]:
        return _OK, [], len(self.templates[hGraph])

    def cuGraphInstantiate(self, hGraph: Any, flags: int) -> tuple[Any, ...]:
        nodes = self.templates[hGraph]
        if (fault := self._fault("cuGraphInstantiate")) is not None:
            return fault, None
        number = self._put(self.graphs, nodes)
        self.made += 1
        for context in filter(None, (node.context and node.context() for node in nodes)):
            context.graphs.add(number)
        return _OK, number

    def cuGraphDestroy(self, hGraph: Any) -> tuple[Any, ...]:
        del self.templates[hGraph]
        return (_OK,)

    def cuGraphLaunch(self, hGraphExec: Any, hStream: Any) -> tuple[Any, ...]:
        if (fault := self._fault("cuGraphLaunch")) is not None:
            return (fault,)
        for node in self.graphs[hGraphExec]:
            work = node.work
            if node.context is not None:
                context = node.context()
                assert context is not None, "launched after its context went"
                assert context.changes == node.state, "its context was told something since it was captured"
                work = context.counted(work)
            hStream.add(work)
            hStream.add(self._faster)
            if self.engine is not None:
                self.engine.passes.append(("graph", node.batch))
                self.engine.host_seconds += self.launch_seconds
        return (_OK,)

    def cuGraphExecDestroy(self, hGraphExec: Any) -> tuple[Any, ...]:
        if (fault := self._fault("cuGraphExecDestroy")) is not None:
            return (fault,)
        for context in filter(None, (node.context and node.context() for node in self.graphs.pop(hGraphExec))):
            context.graphs.discard(hGraphExec)
        return (_OK,)

    def _faster(self) -> None:
        self._driver.milliseconds -= self.milliseconds_less

    def _fault(self, name: str) -> CUresult | None:
        return self.faults.pop(name, None)

    def _put(self, where: dict[int, list[Node]], nodes: list[Node]) -> int:
        number = next(self._numbers)
        where[number] = nodes
        return number
