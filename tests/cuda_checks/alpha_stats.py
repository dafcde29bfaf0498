"""alpha_stats.cu against float64 and against mattemill.kernels.alpha_stats."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, soft_mask

from mattemill.kernels.alpha_stats import alpha_stats as numpy_alpha_stats
from mattemill.kernels.cuda.alpha_stats import alpha_stats
from mattemill.kernels.cuda.device import Device


def check_figures_agree_with_the_numpy_version(device: Device) -> None:
    for shape in [*SIZES, (2, 2), (1, 1100)]:
        for mask in (soft_mask(*shape), np.zeros(shape, np.float32), np.ones(shape, np.float32)):
            [out] = alpha_stats(device, on_device(device, mask))
            twin = numpy_alpha_stats(mask)
            assert out.keys() == twin.keys()
            for name, value in twin.items():
                assert abs(out[name] - value) < 1e-5, (shape, name, out[name], value)


def check_figures_agree_with_float64(device: Device) -> None:
    mask = soft_mask(128, 160)
    [out] = alpha_stats(device, device.upload(mask))
    exact = mask.astype(np.float64)
    assert abs(out["area"] - exact.mean()) < 1e-7
    assert abs(out["certainty"] - np.abs(2 * exact - 1)[mask >= np.float32(0.05)].mean()) < 1e-7
    assert out["peak"] == float(mask.max())


def check_a_batch_is_each_of_its_images(device: Device) -> None:
    masks = np.stack([soft_mask(37, 61), soft_mask(37, 61)[::-1], np.zeros((37, 61), np.float32)])
    for one, mask in zip(alpha_stats(device, device.upload(masks)), masks, strict=True):
        for name, value in numpy_alpha_stats(mask).items():
            assert abs(one[name] - value) < 1e-5, name
