"""The kernels as a library for the CPU, made by g++."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from mattemill.kernels.cuda.build_cache import cached
from mattemill.kernels.cuda.errors import KernelBuildError
from mattemill.kernels.cuda.sources import KernelSources, build_key

Sanitizer = Literal["address,undefined"]

_FLAGS = ("-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-ffp-contract=off", "-w")
_PLAIN = ("-O2",)
_SANITIZED = (
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fsanitize-sections=cuda_shared",
    "-fno-omit-frame-pointer",
)


def compiler() -> str | None:
    """Where g++ is, or None."""
    return shutil.which("g++")


def build_for_cpu(sources: KernelSources, sanitizer: Sanitizer | None = None) -> Path:
    """The shared library; from the cache when the same source was built with the same compiler and flags.

    Raises KernelBuildError when there is no g++ or it refuses the source.
    """
    found = compiler()
    if found is None:
        raise KernelBuildError("the CPU driver compiles the kernels with g++, which is not here: install g++")
    flags = (*_FLAGS, *(_SANITIZED if sanitizer else _PLAIN))
    text = sources.text(on_cpu=True)

    def make(path: Path) -> None:
        command = [found, *flags, "-x", "c++", "-", "-o", str(path)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KernelBuildError(f"g++ refuses the kernels: {done.stderr[-4000:]}")

    return cached(f"cpu-{build_key(text, _version(found), *flags)}.so", make)


def address_sanitizer() -> str | None:
    """What LD_PRELOAD must name in a process that loads a sanitized build; None where there is no such library.

    The C++ library is among them, because exceptions of other extension modules go through the sanitizer.
    """
    found = compiler()
    if found is None:
        return None
    paths = []
    for name in ("libasan.so", "libstdc++.so"):
        done = subprocess.run([found, f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        path = Path(done.stdout.strip())
        if not (path.is_absolute() and path.exists()):
            return None
        paths.append(str(path))
    return " ".join(paths)


@functools.cache
def _version(path: str) -> str:
    done = subprocess.run([path, "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=False)
    return done.stdout
