"""The driver that runs the kernels on the CPU: for tests, and to look at a kernel's every step. It is slow."""

from __future__ import annotations

import ctypes
import math
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.cpu_build import Sanitizer, build_for_cpu
from mattemill.kernels.cuda.driver import Extent
from mattemill.kernels.cuda.errors import DeviceMemoryError, KernelBuildError, KernelLaunchError
from mattemill.kernels.cuda.sources import KernelSources

ThreadOrder = Literal["forward", "reverse", "random"]

_ORDERS = {"forward": 0, "reverse": 1, "random": 2}
_RUBBISH = 0xA5  # what new memory holds: a kernel that reads what nobody wrote shows
_ALIGNMENT = 256

_libc = ctypes.CDLL(None)
_libc.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]

_one_launch = threading.Lock()  # a library's state is static, and two drivers may hold the same one


class CpuMemory:
    """Memory of the C library's, so that AddressSanitizer knows where it ends. Rubbish until written."""

    def __init__(self, nbytes: int) -> None:
        found = ctypes.c_void_p()
        if _libc.posix_memalign(ctypes.byref(found), _ALIGNMENT, nbytes) or not found.value:
            raise DeviceMemoryError(f"{nbytes} bytes are not to be had")
        address = found.value
        self.pointer: int = address
        self.nbytes = nbytes
        ctypes.memset(address, _RUBBISH, nbytes)
        weakref.finalize(self, _libc.free, address)


class CpuStream:
    """Everything is done when its call returns, so there is nothing to wait for."""

    handle = 0

    def synchronise(self) -> None:
        """Nothing to wait for."""

    def wait(self, event: Any) -> None:
        """Nothing to wait for."""


class CpuEvent:
    """The time at which it was recorded."""

    def __init__(self) -> None:
        self._at = math.nan

    def record(self, stream: Any | None = None) -> None:
        self._at = time.perf_counter()

    def synchronise(self) -> None:
        """Nothing to wait for."""

    def milliseconds_since(self, start: CpuEvent) -> float:
        return (self._at - start._at) * 1e3


class CpuFunction:
    """A kernel's entry in the library."""

    def __init__(self, name: str, entry: Any, error: Any) -> None:
        entry.restype = ctypes.c_int
        entry.argtypes = [*[ctypes.c_uint] * 6, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64]
        error.restype = ctypes.c_char_p
        self.name, self.entry, self.error = name, entry, error


class CpuModule:
    """A loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def function(self, name: str) -> CpuFunction:
        try:
            entry = getattr(self._library, f"cpu_{name}")
        except AttributeError as error:
            raise KernelBuildError(f"there is no kernel {name} in this module") from error
        return CpuFunction(name, entry, self._library.cpu_error)


class CpuDriver:
    """order: in which a block's threads run; 'random' follows from the seed. A right kernel does not depend on it.

    sanitizer: build with it; the process must have `address_sanitizer()` preloaded then.
    """

    name = "CPU (emulated, for correctness only)"

    def __init__(self, order: ThreadOrder = "forward", seed: int = 0, sanitizer: Sanitizer | None = None) -> None:
        if order not in _ORDERS:
            raise ValueError(f"order = {order!r}: must be one of {', '.join(_ORDERS)}")
        self._order = _ORDERS[order]
        self._seed = seed
        self._launches = 0
        self._sanitizer = sanitizer

    def load_module(self, sources: KernelSources) -> CpuModule:
        return CpuModule(ctypes.CDLL(str(build_for_cpu(sources, self._sanitizer))))

    def allocate(self, nbytes: int) -> CpuMemory:
        return CpuMemory(nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.empty(shape, dtype)

    def copy_in(self, pointer: int, host: npt.NDArray[Any], stream: Any | None = None) -> None:
        ctypes.memmove(pointer, host.ctypes.data, host.nbytes)

    def copy_out(self, host: npt.NDArray[Any], pointer: int, stream: Any | None = None) -> None:
        ctypes.memmove(host.ctypes.data, pointer, host.nbytes)

    def copy_on(self, to: int, pointer: int, nbytes: int, stream: Any | None = None) -> None:
        ctypes.memmove(to, pointer, nbytes)

    def fill(self, pointer: int, value: int, nbytes: int, stream: Any | None = None) -> None:
        ctypes.memset(pointer, value, nbytes)

    def launch(
        self,
        function: CpuFunction,
        grid: Extent,
        block: Extent,
        arguments: Sequence[np.number[Any]],
        shared: int = 0,
        stream: Any | None = None,
    ) -> None:
        values = [np.array(argument) for argument in arguments]  # each kept alive, and at an address
        addresses = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        with _one_launch:
            self._launches += 1
            failed = function.entry(*grid, *block, shared, addresses, self._order, self._seed + self._launches)
            if failed:
                raise KernelLaunchError(f"kernel {function.name}: {function.error().decode()}")

    def stream(self) -> CpuStream:
        return CpuStream()

    def event(self) -> CpuEvent:
        return CpuEvent()

    def synchronise(self) -> None:
        """Everything is done already."""
