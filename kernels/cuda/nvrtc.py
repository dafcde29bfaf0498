"""NVIDIA's run-time compiler, through ctypes: a library of its own, which needs no toolkit, no headers and no GPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mattemill.kernels.cuda.errors import KernelBuildError

_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")


def nvrtc_version() -> str:
    """'major.minor'. Raises KernelBuildError when the library is not there."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call(_library(), "nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_with_nvrtc(text: str, flags: Sequence[str]) -> bytes:
    """Machine code (a cubin) of a translation unit without includes; `-arch=sm_NN` must be among the flags.

    Raises KernelBuildError when the library is not there, or with what it says of the source.
    """
    library = _library()
    program = ctypes.c_void_p()
    _call(library, "nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    try:
        options = (ctypes.c_char_p * len(flags))(*[flag.encode() for flag in flags])
        if library.nvrtcCompileProgram(program, len(flags), options):
            log = _bytes(library, program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
            raise KernelBuildError(f"NVRTC refuses the kernels: {log.decode(errors='replace')[-4000:]}")
        return _bytes(library, program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(library: ctypes.CDLL, program: ctypes.c_void_p, size_call: str, call: str) -> bytes:
    size = ctypes.c_size_t()
    _call(library, size_call, program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(library, call, program, buffer)
    return buffer.raw


def _call(library: ctypes.CDLL, name: str, *arguments: object) -> None:
    status = getattr(library, name)(*arguments)
    if status:
        text = library.nvrtcGetErrorString(status).decode()
        raise KernelBuildError(f"NVRTC: {name} says {text}")


@functools.cache
def _library() -> ctypes.CDLL:
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    raise KernelBuildError("NVRTC is not here: pip install nvidia-cuda-nvrtc")


def _candidates() -> Iterator[str]:
    spec = importlib.util.find_spec("nvidia")  # the namespace of NVIDIA's wheels
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(map(str, Path(folder).glob("*/lib/libnvrtc.so.*")), reverse=True)
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    yield from (str(path) for path in sorted(Path(home).glob("lib64/libnvrtc.so*"), reverse=True))
    yield from _NAMES
    found = ctypes.util.find_library("nvrtc")
    if found:
        yield found
