"""Every CUDA kernel under AddressSanitizer and UndefinedBehaviorSanitizer, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mattemill.kernels.cuda.cpu_build import address_sanitizer

TESTS = Path(__file__).resolve().parents[2]

EVERYTHING = """
from cuda_checks.tools import all_checks
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device

device = Device(CpuDriver(sanitizer="address,undefined"))
done = 0
for checks in all_checks().values():
    for check in checks.values():
        check(device)
        done += 1
print(done, "checks passed")
"""

FAULTY = """
import numpy as np
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.sources import KernelSources, packaged_sources

TEXT = '''
#include "prelude.cuh"
KERNEL(64) faulty(int* out, int n, int big) {
  __shared__ int fixed[64];
  DYNAMIC_SHARED(int, grown);
  fixed[threadIdx.x] = grown[threadIdx.x] = 1;
  __syncthreads();
  BODY
}
'''
headers = packaged_sources().only().files
sources = KernelSources((*headers, ("faulty.cu", TEXT.replace("BODY", "FAULT"))))
device = Device(CpuDriver(sanitizer="address,undefined"), sources)
out = device.empty((64,), np.int32)
device.launch("faulty", (1, 1, 1), (64, 1, 1), out, 64, 2**31 - 1, shared=256)
print("nothing was noticed")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    library = address_sanitizer()
    if library is None:
        pytest.skip("needs g++ with libasan and libstdc++")
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(TESTS),
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


def test_no_kernel_leaves_its_memory_or_the_rules_of_the_language() -> None:
    done = run(EVERYTHING)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[0]) > 30


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("out[0] = grown[n + threadIdx.x];", "heap-buffer-overflow"),
        ("out[0] = fixed[n + threadIdx.x];", "out of bounds for type 'int [64]'"),
        ("out[0] = big + n;", "signed integer overflow"),
        ("if (threadIdx.x == 3) { int own[4] = {1, 2, 3, 4}; out[0] = own[n / 16]; }", "index 4 out of bounds"),
    ],
)
def test_a_fault_of_each_kind_is_named(fault: str, said: str) -> None:
    done = run(FAULTY.replace("FAULT", fault))
    assert done.returncode != 0
    assert "nothing was noticed" not in done.stdout
    assert said in done.stderr, done.stderr[-3000:]
