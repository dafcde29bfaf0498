"""Pinned memory through which large arrays go to a device: filled and copied by turns."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.device import Device, DeviceArray

_STEP = 1 << 20  # bytes; pinning takes milliseconds, so that a photograph a little larger shall not need it again


@dataclass(slots=True)
class _Slot:
    """memory: pinned, uint8. copied: recorded behind the last copy from it."""

    memory: npt.NDArray[np.uint8] | None = None
    copied: Any = None


class Staging:
    """Uploads by way of pinned memory, which the device reads by itself while the host prepares the next.

    Of `slots` blocks as large as the largest array so far: a block is used again once what was copied from it has
    arrived. device: whose stream the copies are in. For one thread.
    """

    def __init__(self, device: Device, slots: int = 2) -> None:
        self._on = device
        self._slots = deque(_Slot() for _ in range(slots))
        self._given: _Slot | None = None

    def room(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """uint8 (nbytes,) of pinned memory, to be written to and then given to `upload`, whole or in part."""
        self._slots.rotate(-1)
        slot = self._slots[0]
        if slot.copied is not None:
            slot.copied.synchronise()
            slot.copied = None
        if slot.memory is None or slot.memory.nbytes < nbytes:
            slot.memory = None  # given back first
            slot.memory = self._on.driver.pinned((-(-max(1, nbytes) // _STEP) * _STEP,), np.uint8)
        self._given = slot
        return slot.memory[:nbytes]

    def upload(self, host: npt.NDArray[Any]) -> DeviceArray:
        """A copy on the device, contiguous. What lies in the last `room` goes as it is, everything else by way of one.

        The host's array may change at once; what `room` gave, only once it gives it again.
        """
        values = np.ascontiguousarray(host)
        slot = self._given
        if slot is None or slot.memory is None or not np.may_share_memory(values, slot.memory):
            inside = self.room(values.nbytes).view(values.dtype).reshape(values.shape)
            np.copyto(inside, values)
            values, slot = inside, self._slots[0]
        self._given = None
        array = self._on.empty(values.shape, values.dtype)
        if values.nbytes:
            self._on.driver.copy_in(array.pointer, values, self._on.stream)
            slot.copied = self._on.driver.event()
            slot.copied.record(self._on.stream)
        return array

    def clear(self) -> None:
        """Give the memory back, once nothing is copied any more."""
        for slot in self._slots:
            if slot.copied is not None:
                slot.copied.synchronise()
            slot.memory = slot.copied = None
        self._given = None
