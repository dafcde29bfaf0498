"""mix.cu against NumPy."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, soft_mask, worst

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.mix import mix


def check_mattes_are_mixed_by_each_pixels_share_and_then_with_the_mask(device: Device) -> None:
    for shape in SIZES:
        rng = np.random.default_rng(shape[0])
        matte, other, share = (rng.random(shape, np.float32) for _ in range(3))
        soft = soft_mask(*shape)
        planes = [device.upload(plane) for plane in (matte, other, share)]
        for done in (1.0, 0.25, 0.0):
            out = device.download(mix(device, *planes, on_device(device, soft), done))
            both = matte + share.astype(np.float64) * (other - matte)
            assert worst(out, soft + done * (both - soft)) < 1e-6, (shape, done)
