"""Every CUDA kernel on a GPU, with the checks that the CPU driver passes in CI. Not yet run on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from cuda_checks.tools import Check, all_checks

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.driver import Driver
from mattemill.kernels.cuda.errors import CudaError, KernelLaunchError, NoGpuError
from mattemill.kernels.cuda.pycuda_driver import PycudaDriver

pytestmark = pytest.mark.gpu

CHECKS = {f"{file}-{name}": check for file, checks in all_checks().items() for name, check in checks.items()}


@pytest.fixture(scope="module")
def driver() -> Iterator[PycudaDriver]:
    try:
        made = PycudaDriver()
    except NoGpuError as error:
        pytest.skip(f"needs an NVIDIA GPU and pycuda: {error}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def device(driver: PycudaDriver) -> Device:
    return Device(driver)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_kernel_agrees_with_numpy_on_the_gpu(check: Check, device: Device) -> None:
    check(device)


def test_another_thread_is_told_that_the_driver_is_not_its_own(driver: PycudaDriver) -> None:
    caught: list[CudaError] = []

    def use() -> None:
        try:
            driver.synchronise()
        except CudaError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert isinstance(caught[0], KernelLaunchError)


def test_copies_through_pinned_memory_in_a_stream_of_ones_own(driver: Driver) -> None:
    stream = driver.stream()
    device = Device(driver, stream=stream)
    host = driver.pinned((1000,), np.int32)
    host[:] = np.arange(1000)
    memory = driver.allocate(4000)
    driver.copy_in(memory.pointer, host, stream)
    back = driver.pinned((1000,), np.int32)
    driver.copy_out(back, memory.pointer, stream)
    device.synchronise()
    assert np.array_equal(back, host)
    assert stream.handle != 0


def test_events_tell_the_time_between_them(driver: Driver) -> None:
    first, last = driver.event(), driver.event()
    memory = driver.allocate(1 << 28)
    first.record()
    driver.fill(memory.pointer, 1, 1 << 28)
    last.record()
    last.synchronise()
    assert last.milliseconds_since(first) > 0
