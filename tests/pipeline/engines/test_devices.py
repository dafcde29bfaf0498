"""What there is of CUDA for onnxruntime; a session that is elsewhere than asked is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattemill.pipeline.engines.devices import CudaFound, find_cuda
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import DeviceError


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (CudaFound(False, True, "", 1), "install onnxruntime-gpu"),
        (CudaFound(True, False, "cannot be loaded", 0), "libcuda.so.1 cannot be loaded; install the driver"),
        (CudaFound(True, True, "", 0), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(found: CudaFound, says: str) -> None:
    assert says in "; ".join(found.missing)


def test_everything_that_is_missing_is_told_at_once() -> None:
    assert len(CudaFound(False, False, "cannot be loaded", 0).missing) == 2


def test_a_session_that_onnxruntime_moves_to_the_cpu_is_an_error(u2netp: Path) -> None:
    if not find_cuda().missing:
        pytest.skip("this machine has CUDA: nothing falls back here")
    with pytest.raises(DeviceError, match=r"asked for cuda:0.*would run on CPUExecutionProvider"):
        OnnxRuntimeEngine(u2netp, "cuda:0")
