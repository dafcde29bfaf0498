"""`python -m mattemill.kernels.cuda.package`: the fatbin beside the sources, to be shipped in the wheel.

Needs nvcc 13 (it is the first that knows all the architectures), no GPU. Old ones are removed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mattemill.kernels.cuda.errors import KernelBuildError
from mattemill.kernels.cuda.gpu_build import build_fatbin, packaged_fatbin
from mattemill.kernels.cuda.sources import packaged_sources


def package(folder: Path | None = None) -> Path:
    """Build it into the folder (default: the package's own) and return its path. Raises KernelBuildError."""
    sources = packaged_sources()
    path = packaged_fatbin(sources, folder)
    aside = path.with_suffix(".making")
    build_fatbin(sources, aside)
    for old in path.parent.glob("kernels-*.fatbin"):
        old.unlink()
    return aside.replace(path)


if __name__ == "__main__":
    try:
        print(package())
    except KernelBuildError as error:
        sys.exit(str(error))
