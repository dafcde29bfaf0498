"""All of nvImageCodec that mattemill touches, as Protocols, and where it is imported.

As `engines.tensorrt_api` for TensorRT: the rest of the code sees it only through these, and a test compares every name
and parameter below with the real package. A class here is named after the real one; `NvImgCodec` is the module.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Protocol, cast

from mattemill.pipeline.engines.modules import State, module_state

MODULE = "nvidia.nvimgcodec"
INSTALL = "pip install 'mattemill[nvimgcodec]' (nvidia-nvimgcodec-cu13 and nvidia-nvjpeg, under NVIDIA's own terms)"


class Image(Protocol):
    """Decoded pixels: in its own memory, which goes with the object."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def buffer_kind(self) -> Any: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class Decoder(Protocol):
    def decode(self, srcs: Sequence[Any], *, params: Any, cuda_stream: int) -> list[Image | None]: ...


class NvImgCodec(Protocol):
    """The module `nvidia.nvimgcodec`."""

    __version__: str
    NVIMGCODEC_DEVICE_CPU_ONLY: int

    @property
    def CodeStream(self) -> Callable[..., Any]: ...
    @property
    def Decoder(self) -> Callable[..., Decoder]: ...
    @property
    def DecodeParams(self) -> Callable[..., Any]: ...
    @property
    def Backend(self) -> Callable[..., Any]: ...
    @property
    def BackendKind(self) -> Any: ...
    @property
    def ColorSpec(self) -> Any: ...
    @property
    def ImageBufferKind(self) -> Any: ...


MEMBERS = {
    "BackendKind": ("CPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU"),
    "ColorSpec": ("SRGB",),
    "ImageBufferKind": ("STRIDED_DEVICE", "STRIDED_HOST"),
}
"""Of the classes that the Protocols leave open: the members that we touch."""

ARGUMENTS = {
    "CodeStream": ("array",),
    "Decoder": ("device_id", "max_num_cpu_threads", "backends", "options"),
    "DecodeParams": ("apply_exif_orientation", "color_spec", "allow_any_depth"),
    "Backend": ("backend_kind",),
}
"""Of the classes that we make: with which arguments."""


def import_nvimgcodec() -> NvImgCodec:
    """The module. Raises ImportError when it is not installed. Touches no GPU."""
    return cast("NvImgCodec", importlib.import_module(MODULE))


def why_no_nvimgcodec() -> str:
    """What is missing for decoding JPEGs on a GPU, and how to get it; '' when everything is installed."""
    lacks = [f"{name} is {state}" for name, state in ((MODULE, module_state(MODULE)[0]), ("nvJPEG", nvjpeg_state()[0]))]
    lacks = [text for text in lacks if not text.endswith(" ok")]
    return f"{' and '.join(lacks)}: {INSTALL}" if lacks else ""


def nvjpeg_state() -> tuple[State, str]:
    """('ok', version or where it was found), or ('missing', ...): the library with which nvImageCodec decodes JPEGs."""
    for distribution in ("nvidia-nvjpeg", "nvidia-nvjpeg-cu12"):
        try:
            return "ok", metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    for name in ("libnvjpeg.so.13", "libnvjpeg.so.12"):  # of a CUDA toolkit
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return "ok", name
    return "missing", "not installed"
