"""A device with its kernels loaded, and arrays on it: what every launch function takes first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.driver import Driver, Extent, Memory
from mattemill.kernels.cuda.errors import KernelLaunchError
from mattemill.kernels.cuda.sources import KernelSources, Signature, packaged_sources

_LARGEST_PRODUCT = 2**30  # of the sizes before and after a resize along one axis: resample.cuh counts in 31 bits
_LARGEST_GRID: Extent = (2**31 - 1, 65_535, 65_535)  # CUDA C++ Programming Guide, Technical Specifications


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """An array on the device. Within a row elements lie close together; rows are `row_bytes` apart.

    A row is everything behind the first axis. `memory` is held so that it lives as long as the array.
    """

    memory: Memory
    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    row_bytes: int

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, without what lies between rows."""
        return self.size * self.dtype.itemsize

    @property
    def contiguous(self) -> bool:
        """Whether nothing lies between rows."""
        return self.row_bytes == math.prod(self.shape[1:]) * self.dtype.itemsize

    def window(self, x0: int, y0: int, x1: int, y1: int) -> DeviceArray:
        """A view of some pixels of an (H, W[, C]) array, without a copy. Raises ValueError as `crop` does."""
        height, width = self.shape[:2]
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"window {(x0, y0, x1, y1)} is empty or leaves the image of {width}x{height}")
        pixel = math.prod(self.shape[2:]) * self.dtype.itemsize
        at = self.pointer + y0 * self.row_bytes + x0 * pixel
        return replace(self, pointer=at, shape=(y1 - y0, x1 - x0, *self.shape[2:]))

    def reshape(self, *shape: int) -> DeviceArray:
        """The same bytes in another shape. Raises ValueError when they are not contiguous or not as many."""
        if not self.contiguous or math.prod(shape) != self.size:
            raise ValueError(f"an array {self.shape} cannot be seen as {shape}")
        return replace(self, shape=shape, row_bytes=math.prod(shape[1:]) * self.dtype.itemsize)

    def part(self, index: int) -> DeviceArray:
        """One entry along the first axis, as a view."""
        if not 0 <= index < self.shape[0]:
            raise ValueError(f"there is no entry {index} in an array {self.shape}")
        row = math.prod(self.shape[2:]) * self.dtype.itemsize
        return replace(self, pointer=self.pointer + index * self.row_bytes, shape=self.shape[1:], row_bytes=row)


Argument = DeviceArray | int | float | None


class Device:
    """A driver, its kernels and the stream that they run in. For one thread.

    What a launch function no longer needs goes back to the driver's memory pool while its kernels may still wait in
    the stream: right, because whoever gets it next uses it in the same stream. So one device has one stream.
    """

    def __init__(self, driver: Driver, sources: KernelSources | None = None, stream: Any | None = None) -> None:
        self.driver = driver
        self.stream = stream
        chosen = sources or packaged_sources()
        self._signatures = chosen.signatures()
        self._module = driver.load_module(chosen)
        self._functions: dict[str, Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """Contiguous, with whatever the memory holds."""
        kind = np.dtype(dtype)
        memory = self.driver.allocate(max(1, math.prod(shape) * kind.itemsize))
        return DeviceArray(memory, memory.pointer, shape, kind, math.prod(shape[1:]) * kind.itemsize)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """Contiguous, every byte 0."""
        array = self.empty(shape, dtype)
        if array.nbytes:
            self.driver.fill(array.pointer, 0, array.nbytes, self.stream)
        return array

    def upload(self, host: npt.NDArray[Any]) -> DeviceArray:
        """A copy on the device, contiguous."""
        values = np.ascontiguousarray(host)
        array = self.empty(values.shape, values.dtype)
        if values.nbytes:
            self.driver.copy_in(array.pointer, values, self.stream)
        return array

    def download(self, array: DeviceArray) -> npt.NDArray[Any]:
        """A copy on the host, when all work before it is done. Views come with what lies between their rows, once."""
        host: npt.NDArray[Any]
        if array.contiguous or not array.size:
            host = np.empty(array.shape, array.dtype)
            if host.nbytes:
                self.driver.copy_out(host, array.pointer, self.stream)
                self.synchronise()
            return host
        inside = math.prod(array.shape[1:]) * array.dtype.itemsize
        span = np.empty((array.shape[0] - 1) * array.row_bytes + inside, np.uint8)
        self.driver.copy_out(span, array.pointer, self.stream)
        self.synchronise()
        rows = np.lib.stride_tricks.as_strided(span, (array.shape[0], inside), (array.row_bytes, 1))
        return np.ascontiguousarray(rows).view(array.dtype).reshape(array.shape)

    def synchronise(self) -> None:
        """Wait until this device's stream is done."""
        if self.stream is None:
            self.driver.synchronise()
        else:
            self.stream.synchronise()

    def launch(self, name: str, grid: Extent, block: Extent, *arguments: Argument, shared: int = 0) -> None:
        """Launch a kernel. The types of its parameters, read from the source, say how plain numbers travel.

        An array goes as its address, None as a null pointer. Nothing happens when the grid has no blocks. Raises
        KernelLaunchError when the arguments are not those of the kernel, or the grid is larger than a GPU takes.
        """
        signature = self._signatures.get(name)
        if signature is None:
            raise KernelLaunchError(f"there is no kernel {name}")
        if math.prod(block) > signature.max_threads:
            raise KernelLaunchError(f"kernel {name}: a block of {block} is over its {signature.max_threads} threads")
        if any(count > most for count, most in zip(grid, _LARGEST_GRID, strict=True)):
            raise KernelLaunchError(f"kernel {name}: a grid of {grid} blocks is over the largest, {_LARGEST_GRID}")
        if 0 in grid:
            return
        if name not in self._functions:
            self._functions[name] = self._module.function(name)
        converted = _converted(name, signature, arguments)
        self.driver.launch(self._functions[name], grid, block, converted, shared, self.stream)


def blocks(length: int, size: int) -> int:
    """How many blocks of a size hold a length."""
    return -(-length // size)


def check_resize(name: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """Raises ValueError when a resize is beyond what the kernels can count: 32,768 px to as many, along each axis."""
    for old, new in zip(before[:2], after[:2], strict=True):
        if old * new > _LARGEST_PRODUCT or old < 1 or new < 1:
            raise ValueError(f"{name}: {before[:2]} to {after[:2]} px is empty or too large to resize at once")


def check(name: str, array: DeviceArray, dtype: npt.DTypeLike, *dimensions: int) -> DeviceArray:
    """The array itself. Raises ValueError when its dtype or its number of dimensions is not one of those named."""
    if array.dtype != np.dtype(dtype) or len(array.shape) not in dimensions:
        raise ValueError(f"{name}: needs {np.dtype(dtype)} with {dimensions} axes, got {array.dtype} {array.shape}")
    return array


def check_alike(name: str, shape: tuple[int, ...], *arrays: DeviceArray) -> None:
    """Raises ValueError when the (H, W) of an array is not that of `shape`."""
    for array in arrays:
        if array.shape[:2] != shape[:2]:
            raise ValueError(f"{name}: arrays of {shape[:2]} and {array.shape[:2]} px do not go together")


def _converted(name: str, signature: Signature, arguments: tuple[Argument, ...]) -> list[np.number[Any]]:
    if len(arguments) != len(signature.types):
        raise KernelLaunchError(f"kernel {name} takes {len(signature.types)} arguments, got {len(arguments)}")
    out: list[np.number[Any]] = []
    for kind, parameter, argument in zip(signature.types, signature.names, arguments, strict=True):
        is_pointer = kind is np.uint64
        if is_pointer != (argument is None or isinstance(argument, DeviceArray)):
            raise KernelLaunchError(f"kernel {name}: {parameter} cannot be {type(argument).__name__}")
        if isinstance(argument, DeviceArray):
            out.append(np.uint64(argument.pointer))
        elif argument is None:
            out.append(np.uint64(0))
        elif isinstance(argument, float) and not issubclass(kind, np.floating):
            raise KernelLaunchError(f"kernel {name}: {parameter} is a whole number, got {argument}")
        else:
            try:
                out.append(kind(argument))
            except OverflowError as error:
                raise KernelLaunchError(f"kernel {name}: {parameter} = {argument} does not fit") from error
    return out
