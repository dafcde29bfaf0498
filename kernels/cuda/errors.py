"""What can go wrong between a kernel's source and its result."""

from __future__ import annotations


class CudaError(RuntimeError):
    """The base of them all."""


class KernelBuildError(CudaError):
    """No compiler was found, or the one that was refused the source."""


class KernelLaunchError(CudaError):
    """A kernel was launched with wrong arguments, or failed while it ran."""


class NoGpuError(CudaError):
    """There is no GPU, no driver or no pycuda."""


class DeviceMemoryError(CudaError):
    """The device has not enough memory: a smaller batch may fit."""


class GraphError(CudaError):
    """Work could not be recorded as a CUDA graph, or a graph could not be launched or destroyed."""


class NoGraphsError(CudaError):
    """There are no bindings for CUDA graphs."""
