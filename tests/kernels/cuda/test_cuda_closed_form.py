"""Closed-form matting on the device: on a real photograph, without the host, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mattemill.kernels.closed_form import closed_form_lines as numpy_closed_form_lines
from mattemill.kernels.colour_lines import apply_colour_lines
from mattemill.kernels.cuda.closed_form import closed_form_lines
from mattemill.kernels.cuda.conjugate_gradients import conjugate_gradients
from mattemill.kernels.cuda.counted_driver import CountedDriver
from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.trimap import UNKNOWN

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")

PHOTOS = Path(__file__).parents[2] / "samples" / "photos"


class Recorded(CountedDriver):
    """Notes the launches too."""

    def __init__(self) -> None:
        super().__init__(CpuDriver())
        self.launches = 0

    def launch(self, *given: Any, **named: Any) -> None:
        self.launches += 1
        super().launch(*given, **named)


def photograph(name: str, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """A sample made small, and a trimap with a wide ring around its middle."""
    image = cv2.cvtColor(cv2.imread(str(PHOTOS / name)), cv2.COLOR_BGR2RGB)
    scale = longest / max(image.shape)
    image = np.ascontiguousarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows / height - 0.5, columns / width - 0.5)
    return image, np.where(distance < 0.2, 255, np.where(distance > 0.36, 0, UNKNOWN)).astype(np.uint8)


@pytest.mark.parametrize(("name", "longest", "step"), [("cat.png", 160, 1), ("raccoon.jpg", 200, 2)])
def test_the_matte_of_a_real_photograph_agrees_with_the_numpy_version(name: str, longest: int, step: int) -> None:
    image, trimap = photograph(name, longest)
    driver = Recorded()
    device = Device(driver)
    given = device.upload(image), device.upload(trimap)
    driver.forget()
    made = closed_form_lines(device, *given, step)
    assert not driver.copied_in, "nothing is uploaded on the way"
    assert not driver.copied_out, "nothing comes back on the way"
    assert driver.launches < 250
    nothing = np.zeros(trimap.shape, np.float32)
    mattes = [
        apply_colour_lines(lines, image, nothing)
        for lines in (device.download(made), numpy_closed_form_lines(image, trimap, step))
    ]
    difference = np.abs(mattes[0] - mattes[1])[trimap == UNKNOWN]
    assert difference.mean() < 5e-4  # measured: 5e-5
    assert difference.max() < 1e-2  # 1.3e-3


def test_what_does_not_go_together_is_named() -> None:
    device = Device(CpuDriver())
    image, trimap = device.zeros((5, 7, 3), np.uint8), device.zeros((5, 7), np.uint8)
    with pytest.raises(ValueError, match="not of one size"):
        closed_form_lines(device, image, device.zeros((7, 5), np.uint8))
    with pytest.raises(ValueError, match="step = 0"):
        closed_form_lines(device, image, trimap, step=0)
    with pytest.raises(ValueError, match="needs uint8"):
        closed_form_lines(device, device.zeros((5, 7, 3), np.float32), trimap)
    pairs, bands = device.zeros((12, 9, 11), np.float32), device.zeros((9, 11), np.uint8)
    free, alpha = device.zeros((1,), np.int32), device.zeros((9, 12), np.float32)
    with pytest.raises(ValueError, match="do not go with alpha"):
        conjugate_gradients(device, pairs, bands, free, alpha, 3, 1e-3)
    with pytest.raises(ValueError, match=r"do not go with alpha .* or are views"):
        conjugate_gradients(device, pairs, bands, free, alpha.window(0, 0, 11, 9), 3, 1e-3)
    with pytest.raises(ValueError, match="all frame"):
        conjugate_gradients(device, pairs, bands, free, device.zeros((4, 9), np.float32), 3, 1e-3)
