"""A driver that counts what is copied between host and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.driver import Driver, Event, Extent, Memory, Module, Stream
from mattemill.kernels.cuda.sources import KernelSources


class CountedDriver:
    """Another driver, whose copies are noted in their order.

    copied_in, copied_out: bytes of every copy to the device and from it since the last `forget`.
    """

    def __init__(self, inner: Driver) -> None:
        self._inner = inner
        self.copied_in: list[int] = []
        self.copied_out: list[int] = []

    def forget(self) -> None:
        """Count anew."""
        self.copied_in.clear()
        self.copied_out.clear()

    @property
    def name(self) -> str:
        return self._inner.name

    def load_module(self, sources: KernelSources) -> Module:
        return self._inner.load_module(sources)

    def allocate(self, nbytes: int) -> Memory:
        return self._inner.allocate(nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return self._inner.pinned(shape, dtype)

    def copy_in(self, pointer: int, host: npt.NDArray[Any], stream: Any | None = None) -> None:
        self.copied_in.append(host.nbytes)
        self._inner.copy_in(pointer, host, stream)

    def copy_out(self, host: npt.NDArray[Any], pointer: int, stream: Any | None = None) -> None:
        self.copied_out.append(host.nbytes)
        self._inner.copy_out(host, pointer, stream)

    def copy_on(self, to: int, pointer: int, nbytes: int, stream: Any | None = None) -> None:
        self._inner.copy_on(to, pointer, nbytes, stream)

    def fill(self, pointer: int, value: int, nbytes: int, stream: Any | None = None) -> None:
        self._inner.fill(pointer, value, nbytes, stream)

    def launch(
        self,
        function: Any,
        grid: Extent,
        block: Extent,
        arguments: Sequence[np.number[Any]],
        shared: int = 0,
        stream: Any | None = None,
    ) -> None:
        self._inner.launch(function, grid, block, arguments, shared, stream)

    def stream(self) -> Stream:
        return self._inner.stream()

    def event(self) -> Event:
        return self._inner.event()

    def synchronise(self) -> None:
        self._inner.synchronise()
