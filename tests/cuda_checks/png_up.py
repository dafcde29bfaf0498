"""png_up.cu: the same bytes as mattemill.kernels.png_up."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, photograph

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.png_up import png_up
from mattemill.kernels.png_up import png_up as numpy_png_up


def check_every_byte_is_that_of_the_numpy_version(device: Device) -> None:
    for shape in SIZES:
        for channels in (1, 3, 4):
            pixels = photograph(*shape, channels=channels)
            out = device.download(png_up(device, on_device(device, pixels)))
            assert np.array_equal(out, numpy_png_up(pixels)), (shape, channels)
