"""Leaves out each barrier of the CUDA kernels in turn and prints as JSON how it was noticed.

A program of its own, `python cuda_mutations.py`, because a kernel without its barriers may well end the process: each
is run in a fork of it. A kernel whose mutant survives prints null.
"""

from __future__ import annotations

import json
import os
import re

from cuda_checks.tools import all_checks

from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.errors import KernelLaunchError
from mattemill.kernels.cuda.sources import KernelSources, packaged_sources

BARRIER = "__syncthreads();"
NEEDS = {"guided_filter.cu": ("box_filter.cu",), "feather.cu": ("box_filter.cu",), "decode_yolox.cu": ("nms.cu",)}
NOT_NOTICED, NOTICED, DEADLOCK = 0, 1, 2


def barriers() -> list[tuple[str, int]]:
    """(file, number) of every barrier."""
    texts = [(name, text) for name, text in packaged_sources().files if name.endswith(".cu")]
    return [(name, number) for name, text in texts for number in range(text.count(BARRIER))]


def mutant(name: str, number: int) -> KernelSources:
    """The file without that barrier, and what it needs."""
    text = dict(packaged_sources().files)[name]
    at = [match.start() for match in re.finditer(re.escape(BARRIER), text)][number]
    changed = packaged_sources().with_file(name, text[:at] + text[at + len(BARRIER) :])
    return changed.only(name, *NEEDS.get(name, ()))


def survives(name: str, sources: KernelSources) -> int:
    """Runs the file's checks in three orders until one fails."""
    for order in ("forward", "reverse", "random"):
        device = Device(CpuDriver(order, seed=1), sources)
        for check in all_checks()[name.removesuffix(".cu")].values():
            try:
                check(device)
            except AssertionError:
                return NOTICED
            except KernelLaunchError:
                return DEADLOCK
    return NOT_NOTICED


def how(name: str, number: int) -> str | None:
    """How a missing barrier was noticed, or None."""
    child = os.fork()
    if child == 0:
        os._exit(survives(name, mutant(name, number)))
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return {NOT_NOTICED: None, NOTICED: "wrong result", DEADLOCK: "refused"}[os.WEXITSTATUS(status)]


if __name__ == "__main__":
    print(json.dumps({f"{name}-{number}": how(name, number) for name, number in barriers()}))
