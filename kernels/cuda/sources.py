"""The text of the kernels: one translation unit out of the .cu files and their headers, and the kernels' signatures."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mattemill.kernels.cuda.errors import KernelBuildError

_FOLDER = Path(__file__).parent
_CPU_HEADER = "on_cpu.h"
_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"\s*$')
_KERNEL = re.compile(r"^KERNEL\((\d+)(?:,\s*\d+)?\)\s+(\w+)\s*\(([^)]*)\)", re.MULTILINE)
_TYPES = (  # the first that occurs in a parameter; pointers travel as 64 bits
    ("*", np.uint64),
    ("long long", np.int64),
    ("float", np.float32),
    ("double", np.float64),
    ("unsigned", np.uint32),
    ("int", np.int32),
)

Scalar = type[np.uint64] | type[np.int64] | type[np.float32] | type[np.float64] | type[np.uint32] | type[np.int32]


@dataclass(frozen=True, slots=True)
class Signature:
    """A kernel's parameters by type, their names, and the most threads that a block of it may have."""

    types: tuple[Scalar, ...]
    names: tuple[str, ...]
    max_threads: int


@dataclass(frozen=True, slots=True)
class KernelSources:
    """Files by name, (name, text) each, in a fixed order. Those that end in .cu hold the kernels."""

    files: tuple[tuple[str, str], ...]

    def text(self, *, on_cpu: bool = False) -> str:
        """All kernels as one translation unit without local includes, for nvcc and NVRTC or, on_cpu, for g++.

        Raises KernelBuildError when a file includes one that is not there.
        """
        files = dict(self.files)
        done: set[str] = set()
        lines: list[str] = ["#define ON_CPU"] if on_cpu else []

        def add(name: str) -> None:
            if name in done or (name == _CPU_HEADER and not on_cpu):
                return
            done.add(name)
            if name not in files:
                raise KernelBuildError(f"the kernel sources include {name}, which is not among them: reinstall")
            lines.append(f'#line 1 "{name}"')
            for number, line in enumerate(files[name].splitlines(), 1):
                found = _INCLUDE.match(line)
                if found:
                    add(found.group(1))
                    lines.append(f'#line {number + 1} "{name}"')
                elif line.strip() != "#pragma once":
                    lines.append(line)

        for name, _ in self.files:
            if name.endswith(".cu"):
                add(name)
        if on_cpu:
            lines += [f"CPU_ENTRY({name})" for name in self.signatures()]
        return "\n".join(lines) + "\n"

    def signatures(self) -> MappingProxyType[str, Signature]:
        """The kernels by name. Raises KernelBuildError for a parameter of a type that a launch cannot pass."""
        return _signatures(self)

    def with_file(self, name: str, text: str) -> KernelSources:
        """The same with one file's text replaced."""
        if name not in dict(self.files):
            raise KernelBuildError(f"there is no kernel source {name}")
        return KernelSources(tuple((n, text if n == name else t) for n, t in self.files))

    def only(self, *names: str) -> KernelSources:
        """The headers, and of the .cu files those that are named."""
        return KernelSources(tuple((n, t) for n, t in self.files if not n.endswith(".cu") or n in names))


@functools.cache
def packaged_sources() -> KernelSources:
    """The kernels of this package."""
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix in (".cu", ".cuh", ".h"))
    return KernelSources(tuple((path.name, path.read_text(encoding="utf-8")) for path in paths))


def build_key(text: str, *how: str) -> str:
    """32 hex digits that change with the source, the compiler, its flags or the architecture."""
    digest = hashlib.sha256(text.encode())
    for part in how:
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()[:32]


@functools.lru_cache(maxsize=64)
def _signatures(sources: KernelSources) -> MappingProxyType[str, Signature]:
    found: dict[str, Signature] = {}
    for name, text in sources.files:
        if not name.endswith(".cu"):
            continue
        for threads, kernel, parameters in _KERNEL.findall(text):
            if kernel in found:
                raise KernelBuildError(f"two kernels are called {kernel}")
            parts = [part.strip() for part in parameters.split(",") if part.strip()]
            types = tuple(_type(part, kernel) for part in parts)
            names = tuple(re.findall(r"\w+", part)[-1] for part in parts)
            found[kernel] = Signature(types, names, int(threads))
    return MappingProxyType(found)


def _type(parameter: str, kernel: str) -> Scalar:
    for sign, kind in _TYPES:
        if sign in parameter:
            return kind
    raise KernelBuildError(f"kernel {kernel}: a parameter '{parameter}' cannot be passed: use a pointer or a number")
