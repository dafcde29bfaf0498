"""CUDA graphs through NVIDIA's real bindings, over a libcuda that is a stub. Nothing here ran on a GPU."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mattemill.kernels.cuda.errors import NoGraphsError
from mattemill.kernels.cuda.graphs import CudaGraphs, DriverApi

_RECORDED = ["cuStreamBeginCapture(5,1)", "cuStreamEndCapture(5,0)"]  # 1 is the thread-local mode
_MADE = [*_RECORDED, "cuGraphGetNodes(a,0)", "cuGraphInstantiate(a,0)", "cuGraphDestroy(a,0)"]


def bindings() -> Any:
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        pytest.skip("needs cuda-bindings (pip install cuda-bindings), which is not installed")
    return import_module("cuda.bindings.driver")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was called in each scene, and what was raised in its end."""
    bindings()
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to make the stub of libcuda")
    script = Path(__file__).with_name("graphs_over_stub.py")
    folder = tmp_path_factory.mktemp("stub")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_everything_that_we_touch_is_in_the_bindings_with_our_parameters() -> None:
    module = bindings()
    functions = [name for name in vars(DriverApi) if name.startswith(("cuStream", "cuGraph"))]
    assert len(functions) == 7
    for name in functions:
        ours = [
            parameter for parameter in inspect.signature(getattr(DriverApi, name)).parameters if parameter != "self"
        ]
        assert list(inspect.signature(getattr(module, name)).parameters) == ours, name
    assert int(module.CUstream(0x1234)) == 0x1234
    assert int(module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == 1
    assert (int(module.CUresult.CUDA_SUCCESS), module.CUresult(2).name) == (0, "CUDA_ERROR_OUT_OF_MEMORY")


def test_a_graph_is_recorded_made_launched_and_closed_once(seen: dict[str, list[str]]) -> None:
    *calls, raised = seen["right"]
    assert calls == [*_MADE, "cuGraphLaunch(e,6)", "cuGraphExecDestroy(e,0)"]
    assert raised == "GraphError: CUDA graph: launched after it was closed"


def test_work_that_fails_ends_the_capture_and_comes_out_with_its_own_error(seen: dict[str, list[str]]) -> None:
    assert seen["the work raises"] == [*_RECORDED, "cuGraphDestroy(a,0)", "ValueError: the work's own"]
    assert seen["the work raises and invalidates"] == [*_RECORDED, "ValueError: the work's own"]


def test_work_that_put_nothing_into_the_stream_is_an_error_and_no_graph(seen: dict[str, list[str]]) -> None:
    assert seen["empty"][-2:] == [
        "cuGraphDestroy(a,0)",
        "GraphError: CUDA graph: what was to be recorded put nothing into the stream",
    ]


@pytest.mark.parametrize(
    ("scene", "raised"),
    [
        ("begin", "GraphError: CUDA graph: cuStreamBeginCapture failed: CUDA_ERROR_INVALID_VALUE"),
        ("end", "GraphError: CUDA graph: cuStreamEndCapture failed: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
        ("instantiate", "DeviceMemoryError: CUDA graph: cuGraphInstantiate failed: CUDA_ERROR_OUT_OF_MEMORY"),
        ("launch", "GraphError: CUDA graph: cuGraphLaunch failed: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("close", "GraphError: CUDA graph: cuGraphExecDestroy failed: CUDA_ERROR_INVALID_HANDLE"),
    ],
)
def test_every_error_of_the_driver_is_one_of_ours_and_names_the_call(
    scene: str, raised: str, seen: dict[str, list[str]]
) -> None:
    assert seen[scene][-1] == raised


def test_what_was_recorded_is_destroyed_when_no_graph_can_be_made_of_it(seen: dict[str, list[str]]) -> None:
    assert seen["instantiate"][:-1] == _MADE


def test_without_the_bindings_there_is_one_reason_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(NoGraphsError, match=r"need cuda-bindings, .*pip install cuda-bindings"):
        CudaGraphs()


def test_without_a_driver_the_first_call_is_an_error_of_ours() -> None:
    bindings()
    from mattemill.kernels.cuda.errors import GraphError
    from mattemill.pipeline.engines.gpus import find_gpus

    if find_gpus().cuda_version is not None:
        pytest.skip("this machine has a driver")
    with pytest.raises(GraphError, match="cuStreamBeginCapture cannot be called"):
        CudaGraphs().record(0x5, lambda: None)
