"""The kernels as machine code for a GPU: the packaged fatbin, else nvcc's, else NVRTC's."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mattemill.kernels.cuda.build_cache import cached
from mattemill.kernels.cuda.errors import KernelBuildError
from mattemill.kernels.cuda.nvrtc import compile_with_nvrtc, nvrtc_version
from mattemill.kernels.cuda.sources import KernelSources, build_key

ARCHITECTURES: Final = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities times ten, from Turing on, for which the fatbin holds machine code; later ones get PTX."""

_FLAGS = ("-O3", "-std=c++17")
_PLACES = ("/usr/local/cuda/bin",)


def nvcc() -> str | None:
    """Where nvcc is: on the path, in $CUDA_HOME or where NVIDIA installs it. None when it is not there."""
    home = os.environ.get("CUDA_HOME")
    for folder in (None, *((f"{home}/bin",) if home else ()), *_PLACES):
        found = shutil.which("nvcc", path=folder)
        if found:
            return found
    return None


def packaged_fatbin(sources: KernelSources, folder: Path | None = None) -> Path:
    """Where the fatbin of exactly these sources lies when it was packaged; it need not be there.

    Its name has the hash of the sources in it, so that one of other sources is never taken.
    """
    return (folder or Path(__file__).parent) / f"kernels-{build_key(sources.text())}.fatbin"


def build_fatbin(sources: KernelSources, to: Path, architectures: Sequence[int] = ARCHITECTURES) -> str:
    """Machine code for all architectures and PTX of the last in one file. Returns what ptxas says of every kernel.

    Takes a few seconds an architecture. Raises KernelBuildError when there is no nvcc or it refuses the source.
    """
    code = [f"arch=compute_{a},code=sm_{a}" for a in architectures]
    code.append(f"arch=compute_{architectures[-1]},code=compute_{architectures[-1]}")
    flags = ["-fatbin", *_FLAGS, "-Xptxas", "-v", *(part for one in code for part in ("-gencode", one))]
    return _run_nvcc(sources.text(), flags, to)


def gpu_images(sources: KernelSources, architecture: int) -> Iterator[tuple[str, bytes]]:
    """(where it is from, machine code) for a compute capability times ten, the best first, each made when asked for.

    Whoever loads them takes the first that the driver accepts: an old driver refuses a newer compiler's code. Raises
    KernelBuildError, with what each way said, when the last one is used up.
    """
    reasons = []
    fatbin = packaged_fatbin(sources)
    if fatbin.is_file():
        yield "packaged fatbin", fatbin.read_bytes()
        reasons.append("the driver refuses the packaged fatbin")
    else:
        reasons.append("no fatbin of these sources is packaged")
    for name, make in (("nvcc", _nvcc_cubin), ("NVRTC", _nvrtc_cubin)):
        try:
            image = make(sources, architecture).read_bytes()
        except KernelBuildError as error:
            reasons.append(str(error))
            continue
        yield name, image
        reasons.append(f"the driver refuses what {name} makes")
    raise KernelBuildError(f"no way to get the kernels for sm_{architecture}: " + "; ".join(reasons))


def _nvcc_cubin(sources: KernelSources, architecture: int) -> Path:
    found = nvcc()
    if found is None:
        raise KernelBuildError("nvcc is not here: install the CUDA toolkit, or put nvcc on the path")
    text = sources.text()
    flags = ["-cubin", *_FLAGS, f"-arch=sm_{architecture}"]
    key = build_key(text, _nvcc_version(found), *flags)

    def make(path: Path) -> None:
        _run_nvcc(text, flags, path)

    return cached(f"sm{architecture}-{key}.cubin", make)


def _nvrtc_cubin(sources: KernelSources, architecture: int) -> Path:
    text = sources.text()
    flags = ["-std=c++17", f"-arch=sm_{architecture}"]
    key = build_key(text, f"nvrtc {nvrtc_version()}", *flags)

    def make(path: Path) -> None:
        path.write_bytes(compile_with_nvrtc(text, flags))

    return cached(f"sm{architecture}-{key}.cubin", make)


def _run_nvcc(text: str, flags: Sequence[str], to: Path) -> str:
    found = nvcc()
    if found is None:
        raise KernelBuildError("nvcc is not here: install the CUDA toolkit, or put nvcc on the path")
    with tempfile.TemporaryDirectory(prefix="mattemill-nvcc-") as folder:
        source = Path(folder) / "kernels.cu"
        source.write_text(text, encoding="utf-8")
        command = [found, *flags, str(source), "-o", str(to)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelBuildError(f"nvcc refuses the kernels: {(done.stderr + done.stdout)[-4000:]}")
    return done.stderr + done.stdout


@functools.cache
def _nvcc_version(path: str) -> str:
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
