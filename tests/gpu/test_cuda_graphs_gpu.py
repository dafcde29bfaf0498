"""CUDA graphs in a stream of the driver's, on a real GPU. Not yet run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mattemill.kernels.cuda.errors import CudaError, NoGraphsError
from mattemill.kernels.cuda.graphs import CudaGraphs
from mattemill.pipeline.engines.gpus import find_gpus

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    gpus = find_gpus()
    if not gpus.gpus:
        pytest.skip(f"needs a GPU: {gpus.problem}")
    pytest.importorskip("pycuda.driver", reason="needs pycuda, which is not installed", exc_type=ImportError)
    from mattemill.kernels.cuda.pycuda_driver import PycudaDriver

    with PycudaDriver(0) as opened:
        yield opened


@pytest.fixture
def graphs(driver: Any) -> CudaGraphs:
    try:
        return CudaGraphs()
    except NoGraphsError as error:
        pytest.skip(f"needs CUDA graphs: {error}")


def bytes_of(driver: Any, memory: Any, stream: Any) -> set[int]:
    found = np.empty(memory.nbytes, np.uint8)
    driver.copy_out(found, memory.pointer, stream)
    stream.synchronise()
    return set(found.tolist())


def test_what_is_recorded_runs_at_each_launch_and_not_before(driver: Any, graphs: CudaGraphs) -> None:
    stream, one, other = driver.stream(), driver.allocate(4096), driver.allocate(4096)
    driver.fill(other.pointer, 1, other.nbytes, stream)
    graph = graphs.record(stream.handle, lambda: driver.copy_on(other.pointer, one.pointer, one.nbytes, stream))
    assert bytes_of(driver, other, stream) == {1}
    for value in (7, 9):
        driver.fill(one.pointer, value, one.nbytes, stream)
        graph.launch(stream.handle)
        assert bytes_of(driver, other, stream) == {value}
    graph.close()


def test_a_capture_that_fails_leaves_the_stream_usable(driver: Any, graphs: CudaGraphs) -> None:
    stream, memory = driver.stream(), driver.allocate(4096)

    def forbidden() -> None:
        driver.fill(memory.pointer, 5, memory.nbytes, stream)
        stream.synchronise()

    with pytest.raises(CudaError):
        graphs.record(stream.handle, forbidden)
    driver.fill(memory.pointer, 3, memory.nbytes, stream)
    assert bytes_of(driver, memory, stream) == {3}


def test_recording_nothing_is_an_error(driver: Any, graphs: CudaGraphs) -> None:
    with pytest.raises(CudaError, match="put nothing into the stream"):
        graphs.record(driver.stream().handle, lambda: None)
