"""The GPUs that the NVIDIA driver shows to this process, asked through libcuda alone: no context is made, no pycuda."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

_NO_DEVICE = 100
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: compute capability


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: the N of 'cuda:N'. compute_capability: '9.0'. memory_bytes: of the device, free or not."""

    index: int
    name: str
    compute_capability: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class DriverFound:
    """cuda_version: '13.0', the newest that the driver runs; None without a driver. problem: why there are no GPUs."""

    cuda_version: str | None
    gpus: tuple[Gpu, ...]
    problem: str | None


def find_gpus(library: Any = None) -> DriverFound:
    """Ask the driver. library: libcuda as ctypes loads it; loaded when not given."""
    if library is None:
        try:
            library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            return DriverFound(None, (), f"no NVIDIA driver: libcuda.so.1 cannot be loaded ({error})")
    code = library.cuInit(0)
    if code not in (0, _NO_DEVICE):
        return DriverFound(None, (), f"the NVIDIA driver does not start (cuInit gives {code})")
    number = ctypes.c_int(0)
    version = None
    if library.cuDriverGetVersion(ctypes.byref(number)) == 0:
        version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    count = ctypes.c_int(0)
    if code == _NO_DEVICE or library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return DriverFound(
            version, (), "the driver shows no GPU to this process: look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    return DriverFound(version, tuple(_gpu(library, index) for index in range(count.value)), None)


def _gpu(library: Any, index: int) -> Gpu:
    handle, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return Gpu(index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)
