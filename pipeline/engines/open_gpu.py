"""Opens a GPU for engines: the driver of mattemill.kernels.cuda on the device's own context."""

from __future__ import annotations

import logging

from mattemill.kernels.cuda.errors import NoGpuError, NoGraphsError
from mattemill.kernels.cuda.graphs import CudaGraphs
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.errors import DeviceError

_LOG = logging.getLogger(__name__)


def open_lane(index: int = 0) -> Lane:
    """The lane of GPU `index` in this thread. Raises DeviceError when there is no GPU or no pycuda.

    Close it before the process ends. The driver is asked first: without a GPU TensorRT's runtime ends the process.
    """
    found = find_gpus()
    if index >= len(found.gpus):
        raise DeviceError(f"device cuda:{index}: {found.problem or f'there are {len(found.gpus)} GPUs'}")
    from mattemill.kernels.cuda.pycuda_driver import PycudaDriver

    try:
        driver = PycudaDriver(index)
    except NoGpuError as error:
        raise DeviceError(f"device cuda:{index}: {error}") from error
    try:
        graphs, why_not = CudaGraphs(), ""
    except NoGraphsError as error:
        graphs, why_not = None, str(error)
        _LOG.info("device=cuda:%d graphs=none why=%r", index, why_not)
    return Lane(driver, f"cuda:{index}", driver.close, graphs=graphs, no_graphs=why_not)
