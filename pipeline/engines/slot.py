"""One batch on its way through a GPU: pinned memory at both ends, device memory between, and three events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.driver import Memory
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.recipe import Shape

_ITEM = 4  # bytes of a float32


class Slot:
    """Memory for one batch; it grows to the largest that it has held. Not for a second batch before the first landed.

    uploaded, computed, downloaded: recorded when the inputs are on the device, the outputs are, and they are pinned.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.uploaded, self.computed, self.downloaded = (lane.driver.event() for _ in range(3))
        self._device: dict[str, Memory] = {}
        self._pinned: dict[str, npt.NDArray[np.float32]] = {}
        self._shapes: dict[str, Shape] = {}

    def outgrown(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> set[int]:
        """Addresses on the device that `make_room` will give back for tensors of these shapes."""
        return {
            self._device[name].pointer
            for name, size in _sizes(inputs, outputs)
            if name in self._device and self._device[name].nbytes < size * _ITEM
        }

    def make_room(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
        """See that there is memory for tensors of these shapes. Raises what the driver raises when there is not."""
        for name, size in _sizes(inputs, outputs):
            if name not in self._device or self._device[name].nbytes < size * _ITEM:
                self._device.pop(name, None)
                self._device[name] = self._lane.driver.allocate(size * _ITEM)
            if name not in self._pinned or self._pinned[name].size < size:
                self._pinned.pop(name, None)
                self._pinned[name] = self._lane.driver.pinned((size,), np.float32)
        self._shapes = {**inputs, **outputs}

    @property
    def addresses(self) -> dict[str, int]:
        """Of the tensors on the device."""
        return {name: memory.pointer for name, memory in self._device.items()}

    def put_in(self, name: str, rows: npt.NDArray[np.float32]) -> None:
        """Start copying an input to the device; what the batch has more than `rows` is filled with the last of them."""
        pinned = self._view(name)
        pinned[: len(rows)] = rows
        pinned[len(rows) :] = rows[-1]
        self._lane.driver.copy_in(self._device[name].pointer, pinned, self._lane.upload)

    def take_out(self, name: str) -> None:
        """Start copying an output from the device."""
        self._lane.driver.copy_out(self._view(name), self._device[name].pointer, self._lane.download)

    def result(self, name: str) -> npt.NDArray[np.float32]:
        """An output, once `downloaded` has been waited for. The next batch overwrites it."""
        return self._view(name)

    def clear(self) -> None:
        """Give all memory back."""
        self._device.clear()
        self._pinned.clear()

    def _view(self, name: str) -> npt.NDArray[np.float32]:
        shape = self._shapes[name]
        return self._pinned[name][: math.prod(shape)].reshape(shape)


def _sizes(inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> Iterator[tuple[str, int]]:
    """Floats of every tensor; at least one, since there is no memory of none."""
    for name, shape in (*inputs.items(), *outputs.items()):
        yield name, max(1, math.prod(shape))
