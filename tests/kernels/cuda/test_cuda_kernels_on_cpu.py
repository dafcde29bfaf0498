"""Every CUDA kernel on the CPU driver: against float64 and its NumPy twin, with the threads in three orders."""

from __future__ import annotations

import functools

import pytest
from cuda_checks.tools import Check, all_checks

from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver, ThreadOrder
from mattemill.kernels.cuda.device import Device

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")

CHECKS = {f"{file}-{name}": check for file, checks in all_checks().items() for name, check in checks.items()}


@functools.cache
def device(order: ThreadOrder) -> Device:
    return Device(CpuDriver(order, seed=7))


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_kernel_agrees_with_numpy_whatever_the_order_of_its_threads(check: Check, order: ThreadOrder) -> None:
    check(device(order))
