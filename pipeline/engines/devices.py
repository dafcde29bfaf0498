"""Which device an engine runs on. What was asked for by name is had, or it is an error that says why not."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass

from mattemill.pipeline.errors import DeviceError

_LOG = logging.getLogger(__name__)
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


def resolve_device(asked: str, found: CudaFound | None = None) -> str:
    """'cpu' or 'cuda:0' for what was asked: 'auto', 'cpu' or 'cuda'.

    'auto' takes the GPU when all that it needs is there and says in the log why not otherwise.
    found: what the machine has; looked up when not given. Raises DeviceError when 'cuda' cannot be had.
    """
    if asked == "cpu":
        return "cpu"
    if asked not in ("auto", "cuda"):
        raise DeviceError(f"device {asked!r}: must be auto, cpu or cuda")
    cuda = found if found is not None else find_cuda()
    if not cuda.missing:
        return "cuda:0"
    if asked == "cuda":
        raise DeviceError(
            f"device cuda was asked for and cannot be had: {'; '.join(cuda.missing)}. Or ask for --device cpu"
        )
    _LOG.info("device=cpu asked=auto why=%r", "; ".join(cuda.missing))
    return "cpu"
