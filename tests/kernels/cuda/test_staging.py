"""Uploads by way of pinned memory arrive as they were, though the memory is used again at once."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from fake_gpu import FakeDriver

from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.staging import Staging


class Pinning(FakeDriver):
    """Counts what is pinned. Strict as a GPU is: a pinned array is read when its copy runs."""

    def __init__(self) -> None:
        super().__init__()
        self.pins: list[int] = []

    def load_module(self, sources: Any) -> object:
        return object()

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.pins.append(shape[0])
        return np.zeros(shape, dtype)


@pytest.fixture
def driver() -> Pinning:
    return Pinning()


@pytest.fixture
def device(driver: Pinning) -> Device:
    return Device(cast(Any, driver), stream=driver.stream())


def on(driver: Pinning, array: DeviceArray) -> Any:
    return driver.bytes_at(array.pointer, array.nbytes).view(array.dtype).reshape(array.shape)


def test_arrays_that_change_at_once_arrive_as_they_were(driver: Pinning, device: Device) -> None:
    staging = Staging(device)
    host = np.zeros((5, 7, 3), np.uint8)
    arrived = []
    for value in range(1, 8):
        host[:] = value
        arrived.append(staging.upload(host))
    host[:] = 99
    device.synchronise()
    assert [set(on(driver, array).ravel()) for array in arrived] == [{value} for value in range(1, 8)]
    assert len(driver.pins) == 2


def test_what_was_written_into_the_room_is_copied_from_there(driver: Pinning, device: Device) -> None:
    staging = Staging(device)
    arrived = []
    for value in range(1, 6):
        room = staging.room(60)
        assert room.shape == (60,)
        picture = room[:48].reshape(4, 4, 3)
        picture[:] = value
        arrived.append(staging.upload(picture))
    device.synchronise()
    assert [set(on(driver, array).ravel()) for array in arrived] == [{value} for value in range(1, 6)]
    assert len(driver.pins) == 2, "no third block: what lies in the room is not copied into another"


def test_a_room_that_was_not_used_harms_nothing(driver: Pinning, device: Device) -> None:
    staging = Staging(device)
    first = staging.upload(np.full((3, 3), 7, np.float32))
    staging.room(40)[:] = 1  # of a photograph that turned out to be damaged
    second = staging.upload(np.full((3, 3), 8, np.float32))
    third = staging.upload(np.full((3, 3), 9, np.float32))
    device.synchronise()
    assert [float(on(driver, array).mean()) for array in (first, second, third)] == [7.0, 8.0, 9.0]


def test_a_larger_array_gets_a_larger_block_and_a_smaller_one_the_same(driver: Pinning, device: Device) -> None:
    staging = Staging(device, slots=1)
    for size in (10, 3 << 20, 5, 2 << 20):
        array = staging.upload(np.full(size, 3, np.uint8))
        device.synchronise()
        assert set(on(driver, array)) == {3}
    assert driver.pins == [1 << 20, 3 << 20]


def test_an_empty_array_is_no_copy(driver: Pinning, device: Device) -> None:
    assert Staging(device).upload(np.empty((0, 3), np.uint8)).shape == (0, 3)


def test_memory_is_given_back_only_once_its_copies_are_done(driver: Pinning, device: Device) -> None:
    staging = Staging(device)
    array = staging.upload(np.full(9, 5, np.uint8))
    staging.clear()
    assert set(on(driver, array)) == {5}
    staging.upload(np.full(9, 6, np.uint8))
    assert len(driver.pins) == 2
