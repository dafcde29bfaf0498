"""The driver for NVIDIA GPUs, over pycuda. Not yet run on a GPU.

pycuda is imported when a driver is made, not before: without a GPU's driver its import fails.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.driver import Extent
from mattemill.kernels.cuda.errors import DeviceMemoryError, KernelBuildError, KernelLaunchError, NoGpuError
from mattemill.kernels.cuda.gpu_build import gpu_images
from mattemill.kernels.cuda.sources import KernelSources

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the legacy default stream, nor it for this one


class PycudaMemory:
    """A piece of the driver's pool; goes back to it when the object goes."""

    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation = allocation
        self.pointer: int = int(allocation)
        self.nbytes = nbytes


class PycudaStream:
    """A CUDA stream that does not wait for the legacy default stream."""

    def __init__(self, stream: Any, guard: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self.native = stream
        self._guard = guard

    @property
    def handle(self) -> int:
        return int(self.native.handle)

    def synchronise(self) -> None:
        with self._guard():
            self.native.synchronize()

    def wait(self, event: PycudaEvent) -> None:
        with self._guard():
            self.native.wait_for_event(event.native)


class PycudaEvent:
    """A CUDA event that keeps the time."""

    def __init__(self, event: Any, stream: Any, guard: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self.native = event
        self._stream = stream
        self._guard = guard

    def record(self, stream: PycudaStream | None = None) -> None:
        with self._guard():
            self.native.record(self._stream if stream is None else stream.native)

    def synchronise(self) -> None:
        with self._guard():
            self.native.synchronize()

    def milliseconds_since(self, start: PycudaEvent) -> float:
        with self._guard():
            return float(self.native.time_since(start.native))


class PycudaModule:
    """A loaded fatbin or cubin. origin: where it is from."""

    def __init__(self, native: Any, origin: str, cuda: Any) -> None:
        self._native, self._cuda = native, cuda
        self.origin = origin

    def function(self, name: str) -> Any:
        try:
            return self._native.get_function(name)
        except self._cuda.Error as error:
            raise KernelBuildError(f"there is no kernel {name} in this module: {error}") from error


class PycudaDriver:
    """One GPU, from one thread: the one that makes the driver, uses it and closes it.

    It retains the device's primary context, which torch, the CUDA runtime and TensorRT use too, and makes it current
    on that thread until `close`. Never use pycuda.autoinit beside it. What is allocated must be dropped before `close`.

    Raises NoGpuError when pycuda, the driver or the device is missing.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            import pycuda.driver as cuda
            import pycuda.tools
        except ImportError as error:
            raise NoGpuError(f"pycuda cannot be imported ({error}): pip install 'mattemill[gpu]', on a machine with "
                             "an NVIDIA driver") from error  # fmt: skip
        self._cuda = cuda
        try:
            cuda.init()
            if device >= cuda.Device.count():
                raise NoGpuError(f"there is no GPU {device}: {cuda.Device.count()} are visible")
            native = cuda.Device(device)
            self.name = str(native.name())
            major, minor = native.compute_capability()
            self.architecture = 10 * int(major) + int(minor)
            self._context = native.retain_primary_context()
        except cuda.Error as error:
            raise NoGpuError(f"the NVIDIA driver does not start: {error}") from error
        self._context.push()
        self._thread = threading.get_ident()
        self._stream = cuda.Stream(_NON_BLOCKING)
        self._pool = pycuda.tools.DeviceMemoryPool()
        self._closed = False

    def close(self) -> None:
        """Give the memory back and leave the context. The driver, and what it gave out, must not be used after."""
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        self._stream.synchronize()
        self._pool.stop_holding()
        del self._stream, self._pool
        self._context.pop()
        del self._context

    def __enter__(self) -> PycudaDriver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load_module(self, sources: KernelSources) -> PycudaModule:
        self._check_thread()
        for origin, image in gpu_images(sources, self.architecture):  # raises KernelBuildError when none is left
            with contextlib.suppress(self._cuda.Error):
                return PycudaModule(self._cuda.module_from_buffer(image), origin, self._cuda)
        raise AssertionError("gpu_images ends with an error")

    def allocate(self, nbytes: int) -> PycudaMemory:
        self._check_thread()
        try:
            return PycudaMemory(self._pool.allocate(nbytes), nbytes)
        except self._cuda.MemoryError as error:
            raise DeviceMemoryError(f"{nbytes} bytes are not to be had on {self.name}: {error}") from error

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        self._check_thread()
        try:
            return np.asarray(self._cuda.pagelocked_empty(shape, dtype))
        except self._cuda.MemoryError as error:
            raise DeviceMemoryError(f"no pinned memory for {shape} of {np.dtype(dtype)}: {error}") from error

    def copy_in(self, pointer: int, host: npt.NDArray[Any], stream: PycudaStream | None = None) -> None:
        with self._guard():
            self._cuda.memcpy_htod_async(pointer, host, self._native(stream))

    def copy_out(self, host: npt.NDArray[Any], pointer: int, stream: PycudaStream | None = None) -> None:
        with self._guard():
            self._cuda.memcpy_dtoh_async(host, pointer, self._native(stream))

    def copy_on(self, to: int, pointer: int, nbytes: int, stream: PycudaStream | None = None) -> None:
        with self._guard():
            self._cuda.memcpy_dtod_async(to, pointer, nbytes, self._native(stream))

    def fill(self, pointer: int, value: int, nbytes: int, stream: PycudaStream | None = None) -> None:
        with self._guard():
            self._cuda.memset_d8_async(pointer, value, nbytes, self._native(stream))

    def launch(
        self,
        function: Any,
        grid: Extent,
        block: Extent,
        arguments: Sequence[np.number[Any]],
        shared: int = 0,
        stream: PycudaStream | None = None,
    ) -> None:
        with self._guard():
            function(*arguments, grid=grid, block=block, shared=shared, stream=self._native(stream))

    def stream(self) -> PycudaStream:
        with self._guard():
            return PycudaStream(self._cuda.Stream(_NON_BLOCKING), self._guard)

    def event(self) -> PycudaEvent:
        with self._guard():
            return PycudaEvent(self._cuda.Event(), self._stream, self._guard)

    def synchronise(self) -> None:
        with self._guard():
            self._context.synchronize()

    def _native(self, stream: PycudaStream | None) -> Any:
        return self._stream if stream is None else stream.native

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise KernelLaunchError("a GPU's driver belongs to the thread that made it, and this is another one")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """The right thread, and pycuda's errors as ours."""
        self._check_thread()
        try:
            yield
        except self._cuda.MemoryError as error:
            raise DeviceMemoryError(str(error)) from error
        except self._cuda.Error as error:
            raise KernelLaunchError(str(error)) from error
