"""The checks can fail: a kernel that lacks any one of its barriers is caught by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cuda_mutations
import pytest

from mattemill.kernels.cuda.cpu_build import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")


@pytest.fixture(scope="module")
def noticed() -> dict[str, str | None]:
    """By barrier, how its lack showed."""
    program = Path(cuda_mutations.__file__)
    environment = {**os.environ, "PYTHONPATH": str(program.parent), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=environment, check=True)
    result: dict[str, str | None] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("barrier", [f"{name}-{number}" for name, number in cuda_mutations.barriers()])
def test_a_barrier_that_is_left_out_is_noticed(barrier: str, noticed: dict[str, str | None]) -> None:
    assert noticed[barrier] is not None


def test_a_kernel_that_was_not_changed_passes() -> None:
    assert len(cuda_mutations.barriers()) >= 10
    sources = cuda_mutations.packaged_sources().only("trimap.cu")
    assert cuda_mutations.survives("trimap.cu", sources) == cuda_mutations.NOT_NOTICED
