"""What the launch code needs of a device, and no more: two drivers have it, pycuda's and the CPU's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.sources import KernelSources

Extent = tuple[int, int, int]


class Memory(Protocol):
    """Bytes of the device, given back when the object goes."""

    @property
    def pointer(self) -> int:
        """Address on the device; a multiple of 256."""

    @property
    def nbytes(self) -> int:
        """How many bytes."""


class Stream(Protocol):
    """Work that runs in order."""

    @property
    def handle(self) -> int:
        """The CUstream, for TensorRT and others; 0 on a CPU."""

    def synchronise(self) -> None:
        """Wait until all of it is done."""

    def wait(self, event: Any) -> None:
        """What comes next waits for an event of another stream."""


class Event(Protocol):
    """A point in a stream."""

    def record(self, stream: Any | None = None) -> None:
        """Put it behind what the stream has been given."""

    def synchronise(self) -> None:
        """Wait until the stream has come to it."""

    def milliseconds_since(self, start: Any) -> float:
        """Time between two recorded events that have both been reached."""


class Module(Protocol):
    """Compiled kernels, loaded."""

    def function(self, name: str) -> Any:
        """What `Driver.launch` takes. Raises KernelBuildError when there is no such kernel."""


class Driver(Protocol):
    """A device. Sizes in bytes; `stream` None is the driver's own. Not for several threads at once.

    Copies are in the stream's order. One from or to pageable memory has read or written the host's array when the call
    returns; one from or to pinned memory has when the stream is synchronised.
    """

    @property
    def name(self) -> str:
        """What the device is called, for people."""

    def load_module(self, sources: KernelSources) -> Module:
        """Build (or take from the cache) and load. Raises KernelBuildError."""

    def allocate(self, nbytes: int) -> Memory:
        """Raises DeviceMemoryError."""

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of the host's that the device copies from and to without going through another."""

    def copy_in(self, pointer: int, host: npt.NDArray[Any], stream: Any | None = None) -> None:
        """A contiguous host array to the device."""

    def copy_out(self, host: npt.NDArray[Any], pointer: int, stream: Any | None = None) -> None:
        """From the device into a contiguous host array."""

    def copy_on(self, to: int, pointer: int, nbytes: int, stream: Any | None = None) -> None:
        """From the device to the device."""

    def fill(self, pointer: int, value: int, nbytes: int, stream: Any | None = None) -> None:
        """Every byte to one value, 0..255."""

    def launch(
        self,
        function: Any,
        grid: Extent,
        block: Extent,
        arguments: Sequence[np.number[Any]],
        shared: int = 0,
        stream: Any | None = None,
    ) -> None:
        """As cuLaunchKernel: blocks, threads a block, arguments, bytes of dynamic shared memory.

        Raises KernelLaunchError; on a GPU a kernel's own faults show at the next synchronisation.
        """

    def stream(self) -> Stream:
        """A new stream."""

    def event(self) -> Event:
        """A new event."""

    def synchronise(self) -> None:
        """Wait until the device has done everything. Raises KernelLaunchError for a kernel that failed."""
