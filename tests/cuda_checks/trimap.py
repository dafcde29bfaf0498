"""trimap.cu: the same pixels as mattemill.kernels.trimap, and as its definition taken literally."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, soft_mask

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.trimap import trimap
from mattemill.kernels.trimap import trimap as numpy_trimap


def check_every_pixel_is_that_of_the_numpy_version(device: Device) -> None:
    for shape in SIZES:
        mask = soft_mask(*shape)
        for radius in (0, 1, 6, 16, 50):
            out = device.download(trimap(device, on_device(device, mask), radius))
            assert np.array_equal(out, numpy_trimap(mask, radius)), (shape, radius)


def check_the_levels_of_sureness_are_the_callers(device: Device) -> None:
    mask = soft_mask(61, 97)
    out = device.download(trimap(device, on_device(device, mask), 3, low=0.3, high=0.6))
    assert np.array_equal(out, numpy_trimap(mask, 3, low=0.3, high=0.6))


def check_a_sharp_edge_has_a_band_of_the_radius_to_either_side(device: Device) -> None:
    mask = np.zeros((40, 60), np.float32)
    mask[:, 30:] = 1
    out = device.download(trimap(device, device.upload(mask), 5))
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 255
    truth[:, 29 - 5 : 31 + 5] = 128  # the contour is a pixel wide on either side
    assert np.array_equal(out, truth)
