"""band.cu against NumPy."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, worst

from mattemill.kernels.cuda.band import band_matte
from mattemill.kernels.cuda.device import Device


def check_the_matte_is_sure_where_the_trimap_is_and_stretched_between(device: Device) -> None:
    for height, width in SIZES:
        rng = np.random.default_rng(height * 1000 + width)
        bands = rng.choice(np.array([0, 128, 255], np.uint8), (height, width))
        x0, y0 = width // 3, height // 4
        window = (x0, y0, max(x0 + 1, width - width // 5), max(y0 + 1, height - height // 7))
        filtered = rng.uniform(-0.2, 1.2, (window[3] - window[1], window[2] - window[0])).astype(np.float32)
        out = band_matte(device, device.upload(bands), on_device(device, filtered), window, 0.05)
        around = np.zeros((height, width))
        around[window[1] : window[3], window[0] : window[2]] = np.clip((filtered - 0.05) / 0.9, 0, 1)
        truth = np.where(bands == 128, around, bands == 255)
        assert worst(device.download(out), truth) < 1e-6, (height, width)


def check_without_a_haze_the_filter_is_taken_as_it_is(device: Device) -> None:
    filtered = np.linspace(-0.5, 1.5, 40, dtype=np.float32).reshape(1, 40)
    bands = device.upload(np.full((1, 40), 128, np.uint8))
    out = band_matte(device, bands, device.upload(filtered), (0, 0, 40, 1))
    assert np.array_equal(device.download(out), np.clip(filtered, 0, 1))
