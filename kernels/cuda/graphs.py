"""CUDA graphs: work of a stream is recorded once and put into it again with one call. Not yet run on a GPU.

pycuda has none, so this goes through NVIDIA's own bindings (the package cuda-bindings) and takes streams by their
handle, whoever made them. The bindings load without a driver; they are imported when `CudaGraphs` is made, not before.

CUDA C++ Programming Guide, 'CUDA Graphs'; CUDA Driver API, 'Stream Management' and 'Graph Management'.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from mattemill.kernels.cuda.errors import CudaError, DeviceMemoryError, GraphError, NoGraphsError

_MODULE = "cuda.bindings.driver"


class DriverApi(Protocol):
    """All of `cuda.bindings.driver` that is touched, and no more; a test compares it with the real module.

    Every function gives a tuple: its CUresult, then its results, which are None or missing when it failed.
    """

    @property
    def CUstream(self) -> Callable[[int], Any]: ...
    @property
    def CUstreamCaptureMode(self) -> Any: ...
    def cuStreamBeginCapture(self, hStream: Any, mode: Any) -> tuple[Any, ...]: ...
    def cuStreamEndCapture(self, hStream: Any) -> tuple[Any, ...]: ...
    def cuGraphGetNodes(self, hGraph: Any, numNodes: int = 0) -> tuple[Any, ...]: ...
    def cuGraphInstantiate(self, hGraph: Any, flags: int) -> tuple[Any, ...]: ...
    def cuGraphDestroy(self, hGraph: Any) -> tuple[Any, ...]: ...
    def cuGraphLaunch(self, hGraphExec: Any, hStream: Any) -> tuple[Any, ...]: ...
    def cuGraphExecDestroy(self, hGraphExec: Any) -> tuple[Any, ...]: ...


class CudaGraphs:
    """Records work as graphs, in this thread's current context.

    api: `cuda.bindings.driver`; imported when not given. Raises NoGraphsError when it cannot be.
    """

    def __init__(self, api: DriverApi | None = None) -> None:
        self._api = api if api is not None else import_bindings()

    def record(self, stream: int, work: Callable[[], None]) -> CudaGraph:
        """What `work` puts into a stream, as a graph; none of it runs now.

        The stream is usable afterwards, whatever happened: its capture is ended in every case. stream: handle, not of
        the default stream; what it holds already runs, and is not in the graph. The graph has the addresses that
        `work` used, and is right only as long as they are. Raises what `work` raises; GraphError when something in it
        cannot be recorded or it put nothing into the stream; DeviceMemoryError.
        """
        api = self._api
        handle = api.CUstream(stream)
        # Thread-local: a call of this thread that cannot be in a graph (an allocation, a synchronisation) fails, and
        # with it the capture. 'Relaxed' would let it happen once, now, and leave what it did out of the graph; 'global'
        # would make calls of other threads fail, which have nothing to do with it.
        mode = api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with _no_collection():
            _call(api, "cuStreamBeginCapture", handle, mode)
            try:
                work()
            except BaseException:
                with contextlib.suppress(CudaError):  # an invalidated capture ends with an error, but it ends
                    _call(api, "cuGraphDestroy", *_call(api, "cuStreamEndCapture", handle))
                raise
            (template,) = _call(api, "cuStreamEndCapture", handle)
        try:
            _, nodes = _call(api, "cuGraphGetNodes", template)
            if nodes == 0:
                raise GraphError("CUDA graph: what was to be recorded put nothing into the stream")
            (executable,) = _call(api, "cuGraphInstantiate", template, 0)
        finally:
            _call(api, "cuGraphDestroy", template)
        return CudaGraph(api, executable)


class CudaGraph:
    """Recorded work; made by `CudaGraphs.record`. Takes memory of the device until it is closed."""

    def __init__(self, api: DriverApi, executable: Any) -> None:
        self._api = api
        self._executable = executable

    def launch(self, stream: int) -> None:
        """Put it into a stream, by its handle. Raises GraphError, DeviceMemoryError; nothing was put there then."""
        if self._executable is None:
            raise GraphError("CUDA graph: launched after it was closed")
        _call(self._api, "cuGraphLaunch", self._executable, self._api.CUstream(stream))

    def close(self) -> None:
        """Give its memory back; a launch that still runs is not stopped. Raises GraphError, once."""
        executable, self._executable = self._executable, None
        if executable is not None:
            _call(self._api, "cuGraphExecDestroy", executable)


def _call(api: DriverApi, name: str, *arguments: Any) -> tuple[Any, ...]:
    """A function of the driver; its results. Raises GraphError, DeviceMemoryError."""
    try:
        code, *results = getattr(api, name)(*arguments)
    except Exception as error:  # the bindings raise when the driver is gone, or older than the function
        raise GraphError(f"CUDA graph: {name} cannot be called: {error}") from error
    if int(code) != 0:
        said = getattr(code, "name", str(code))
        kind = DeviceMemoryError if said == "CUDA_ERROR_OUT_OF_MEMORY" else GraphError
        raise kind(f"CUDA graph: {name} failed: {said}")
    return tuple(results)


def import_bindings() -> DriverApi:
    """`cuda.bindings.driver`. Raises NoGraphsError saying how to install it. Touches no GPU."""
    try:
        return cast("DriverApi", importlib.import_module(_MODULE))
    except Exception as error:  # its compiled parts raise whatever they like
        raise NoGraphsError(
            f"CUDA graphs need cuda-bindings, which cannot be imported ({error}): pip install cuda-bindings"
        ) from error


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A collection could free memory of CUDA's from this thread, which would invalidate the capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
