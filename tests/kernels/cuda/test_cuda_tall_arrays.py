"""No launch has more blocks than a GPU takes, however tall the array: along y and z it takes 65,535.

A JPEG may be 65,535 px tall, a PNG more, and margins come on top. The CPU driver loads the real kernels here, but does
not run them: what is looked at is what `Device.launch` says of their grids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mattemill.kernels.cuda.alpha_stats import alpha_stats
from mattemill.kernels.cuda.box_filter import box_mean
from mattemill.kernels.cuda.compose import compose_rgba
from mattemill.kernels.cuda.counted_driver import CountedDriver
from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.errors import KernelLaunchError
from mattemill.kernels.cuda.feather import feather
from mattemill.kernels.cuda.png_up import png_up
from mattemill.kernels.cuda.trimap import trimap
from mattemill.kernels.cuda.true_boxes import true_boxes
from mattemill.kernels.cuda.unsure import unsure_around, unsure_counts

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")

TALL = (70_000, 3)


class Idle(CountedDriver):
    """Launches nothing, and counts what it did not launch."""

    def __init__(self) -> None:
        super().__init__(CpuDriver())
        self.launches = 0

    def launch(self, *given: Any, **named: Any) -> None:
        self.launches += 1


def alpha(device: Device) -> DeviceArray:
    return device.zeros(TALL, np.float32)


@pytest.mark.parametrize(
    "work",
    [
        lambda device: unsure_around(device, alpha(device), 40),
        lambda device: unsure_counts(device, alpha(device), 0.1, 0.9),
        lambda device: trimap(device, alpha(device), 1),
        lambda device: box_mean(device, device.zeros((2, *TALL), np.float32), 3),
        lambda device: feather(device, alpha(device), 1),
        lambda device: feather(device, alpha(device), 60),
        lambda device: alpha_stats(device, alpha(device)),
        lambda device: compose_rgba(device, device.zeros((*TALL, 3), np.uint8), alpha(device)),
        lambda device: png_up(device, device.zeros((*TALL, 4), np.uint8)),
        lambda device: true_boxes(device, device.zeros(TALL, np.uint8), [(0, y, 3, y + 1) for y in range(TALL[0])]),
    ],
    ids=[
        *("unsure_around", "unsure_counts", "trimap", "box_mean", "narrow feather", "wide feather", "alpha_stats"),
        *("compose", "png_up", "true_boxes"),
    ],
)
def test_an_array_of_more_rows_than_a_grid_has_along_y_fits(work: Callable[[Device], object]) -> None:
    driver = Idle()
    work(Device(driver))
    assert driver.launches > 0


def test_a_grid_that_no_gpu_takes_is_refused_on_the_cpu_too() -> None:
    driver = Idle()
    device = Device(driver)
    rows, out = device.zeros((1, 4), np.uint8), device.zeros((1, 5), np.uint8)

    def launched(*grid: int) -> None:
        device.launch("png_up_rows", (grid[0], grid[1], grid[2]), (256, 1, 1), rows, rows.row_bytes, out, 1, 4)

    launched(2**31 - 1, 65_535, 65_535)
    assert driver.launches == 1
    for grid in ((2**31, 1, 1), (1, 65_536, 1), (1, 1, 65_536), (0, 65_536, 1)):
        with pytest.raises(KernelLaunchError, match=r"kernel png_up_rows: a grid of .* is over the largest"):
            launched(*grid)
    assert driver.launches == 1
