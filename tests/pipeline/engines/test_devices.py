"""A device that was asked for is had, or it is an error that says what is missing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mattemill.pipeline.engines.devices import CudaFound, find_cuda, resolve_device
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import DeviceError

_ALL_THERE = CudaFound(provider=True, driver=True, driver_error="", devices=2)


def test_cuda_is_taken_where_all_of_it_is_there() -> None:
    assert resolve_device("cuda", _ALL_THERE) == "cuda:0"
    assert resolve_device("auto", _ALL_THERE) == "cuda:0"
    assert resolve_device("cpu", _ALL_THERE) == "cpu"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (CudaFound(False, True, "", 1), "install onnxruntime-gpu"),
        (CudaFound(True, False, "cannot be loaded", 0), "libcuda.so.1 cannot be loaded; install the driver"),
        (CudaFound(True, True, "", 0), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_cuda_asked_for_by_name_is_an_error_that_names_what_is_missing(found: CudaFound, says: str) -> None:
    with pytest.raises(DeviceError) as refused:
        resolve_device("cuda", found)
    assert says in str(refused.value)
    assert "--device cpu" in str(refused.value)


def test_everything_that_is_missing_is_told_at_once() -> None:
    assert len(CudaFound(False, False, "cannot be loaded", 0).missing) == 2


def test_auto_says_in_the_log_why_it_takes_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert resolve_device("auto", CudaFound(False, True, "", 1)) == "cpu"
    assert "onnxruntime-gpu" in caplog.text


def test_a_device_of_another_name_is_an_error() -> None:
    with pytest.raises(DeviceError, match="must be auto, cpu or cuda"):
        resolve_device("tpu", _ALL_THERE)


def test_a_session_that_onnxruntime_moves_to_the_cpu_is_an_error(u2netp: Path) -> None:
    if not find_cuda().missing:
        pytest.skip("this machine has CUDA: nothing falls back here")
    with pytest.raises(DeviceError, match=r"asked for cuda:0.*would run on CPUExecutionProvider"):
        OnnxRuntimeEngine(u2netp, "cuda:0")
