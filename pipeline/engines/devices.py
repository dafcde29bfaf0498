"""What this machine has for onnxruntime on CUDA; see `place` for what becomes of it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

CUDA_PROVIDER = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class CudaFound:
    """What the machine has for CUDA.

    provider: this onnxruntime was built with its CUDA execution provider. driver: libcuda.so.1 loads and starts.
    driver_error: what it said when not. devices: GPUs that the driver shows to this process.
    """

    provider: bool
    driver: bool
    driver_error: str
    devices: int

    @property
    def missing(self) -> tuple[str, ...]:
        """What stands in the way, each with what to do; empty when CUDA can be used."""
        found = []
        if not self.provider:
            found.append(
                "this onnxruntime is the build without CUDA (no CUDAExecutionProvider): "
                "uninstall onnxruntime and install onnxruntime-gpu"
            )
        if not self.driver:
            found.append(f"no NVIDIA driver: libcuda.so.1 {self.driver_error}; install the driver")
        elif self.devices == 0:
            found.append("the driver shows no GPU to this process: look at nvidia-smi and CUDA_VISIBLE_DEVICES")
        return tuple(found)


def find_cuda() -> CudaFound:
    """Look for CUDA: onnxruntime's build, the driver, its devices. Allocates nothing on a GPU."""
    import onnxruntime

    provider = CUDA_PROVIDER in onnxruntime.get_available_providers()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return CudaFound(provider, False, f"cannot be loaded ({error})", 0)
    # 100 = CUDA_ERROR_NO_DEVICE: the driver is there, only no GPU.
    code = driver.cuInit(0)
    if code == 100:
        return CudaFound(provider, True, "", 0)
    if code != 0:
        return CudaFound(provider, False, f"does not start (cuInit gives {code})", 0)
    count = ctypes.c_int(0)
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    return CudaFound(provider, code == 0, f"cuDeviceGetCount gives {code}", count.value if code == 0 else 0)
