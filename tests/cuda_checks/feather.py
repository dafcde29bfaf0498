"""feather.cu against a Gaussian in float64 and against mattemill.kernels.feather."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, soft_mask, worst

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.feather import feather
from mattemill.kernels.feather import feather as numpy_feather


def gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    reach = (round(sigma * 8 + 1) | 1) // 2
    taps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (taps / sigma) ** 2)
    at = np.clip(np.arange(length)[:, None] + taps[None], 0, length - 1)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], at), weights[None] / weights.sum())
    return matrix


def check_a_narrow_one_agrees_with_a_gaussian_in_float64(device: Device) -> None:
    for shape in SIZES:
        mask = soft_mask(*shape)
        for radius in (1.0, 4.5, 11.0):
            out = device.download(feather(device, device.upload(mask), radius))
            down, across = (gaussian_matrix(length, radius / 2) for length in shape)
            assert worst(out, down @ mask.astype(np.float64) @ across.T) < 2e-6, (shape, radius)


def check_it_agrees_with_the_numpy_version_wide_and_narrow(device: Device) -> None:
    for shape in SIZES:
        mask = soft_mask(*shape)
        for radius in (0.0, 3.0, 12.0, 30.0):
            out = device.download(feather(device, device.upload(mask), radius))
            assert worst(out, numpy_feather(mask, radius)) < 2e-3, (shape, radius)
