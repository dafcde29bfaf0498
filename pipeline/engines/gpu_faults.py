"""What an error of CUDA or TensorRT means for the process: told from its text, as each layer has its own classes.

CUDA Driver API, `CUresult`: which errors leave a context that only a new process can replace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

GpuFault = Literal["memory", "lost", "other"]
"""memory: a smaller batch may fit. lost: nothing runs in this process any more. other: this one call failed."""

_MEMORY = (
    "devicememoryerror",
    "out of memory",
    "outofmemory",
    "out_of_memory",
    "cudaerrormemoryallocation",
    "failed to allocate memory",  # ONNX Runtime's arena
    "_alloc_failed",  # cuDNN's and cuBLAS's own
)
_LOST = (
    "illegal memory access",
    "illegal_address",
    "illegaladdress",
    "illegal instruction",
    "illegal_instruction",
    "illegalinstruction",
    "misaligned address",
    "misaligned_address",
    "misalignedaddress",
    "invalid program counter",
    "invalid_pc",
    "invalidpc",
    "not supported on global/shared address space",
    "invalid_address_space",
    "invalidaddressspace",
    "hardware stack error",
    "hardware_stack_error",
    "hardwarestackerror",
    "unspecified launch failure",
    "launch_failed",
    "launchfailure",
    "launch timed out",
    "launch_timeout",
    "launchtimeout",
    "device-side assert",
    "cuda_error_assert",
    "uncorrectable",
    "cuda_error_unknown",
    "cudaerrorunknown",
    "context is destroyed",
    "context_is_destroyed",
    "driver shutting down",
    "deinitialized",
    "device_unavailable",
    "has fallen off the bus",
)


def gpu_fault(texts: Iterable[str]) -> GpuFault:
    """The worst that the messages of one failure tell."""
    whole = " ".join(texts).lower()
    if any(sign in whole for sign in _LOST):
        return "lost"
    return "memory" if any(sign in whole for sign in _MEMORY) else "other"
