"""GPUs as the driver tells of them, with a libcuda that is a fake; and with the machine's own."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from mattemill.pipeline.engines.gpus import Gpu, find_gpus
from mattemill.pipeline.engines.open_gpu import open_lane
from mattemill.pipeline.errors import DeviceError


class FakeCuda:
    """The driver's functions with two GPUs; a fake."""

    def __init__(self, init: int = 0, count: int = 2) -> None:
        self._init, self._count = init, count

    def cuInit(self, flags: int) -> int:
        return self._init

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13020
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self._count
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:
        handle._obj.value = 40 + index
        return 0

    def cuDeviceGetName(self, name: Any, length: int, handle: ctypes.c_int) -> int:
        name.value = b"NVIDIA H200" if handle.value == 40 else b"NVIDIA L4"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, handle: ctypes.c_int) -> int:
        value._obj.value = {(75, 40): 9, (76, 40): 0, (75, 41): 8, (76, 41): 9}[(attribute, handle.value)]
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, handle: ctypes.c_int) -> int:
        total._obj.value = 141 << 30
        return 0


def test_every_gpu_is_told_with_its_name_and_capability() -> None:
    found = find_gpus(FakeCuda())
    assert found.cuda_version == "13.2"
    assert found.problem is None
    assert found.gpus == (Gpu(0, "NVIDIA H200", "9.0", 141 << 30), Gpu(1, "NVIDIA L4", "8.9", 141 << 30))


@pytest.mark.parametrize(
    ("library", "says"),
    [
        (FakeCuda(init=100), "CUDA_VISIBLE_DEVICES"),
        (FakeCuda(count=0), "CUDA_VISIBLE_DEVICES"),
        (FakeCuda(init=803), "does not start (cuInit gives 803)"),
    ],
)
def test_without_a_gpu_the_reason_is_told(library: FakeCuda, says: str) -> None:
    found = find_gpus(library)
    assert found.gpus == ()
    assert says in str(found.problem)


def test_opening_a_gpu_that_is_not_there_is_an_error_before_any_library_is_touched() -> None:
    there = find_gpus()
    with pytest.raises(DeviceError, match=r"device cuda:99: .*(driver|GPU)"):
        open_lane(99)
    assert (there.problem is None) == bool(there.gpus)
