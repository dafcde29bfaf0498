"""unsure.cu against mattemill.kernels.unsure."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, soft_mask, worst

from mattemill.kernels import unsure as twin
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.unsure import unsure_around, unsure_counts, unsure_share


def check_counts_are_those_of_the_numpy_version(device: Device) -> None:
    for shape in [*SIZES, (1, 1100)]:
        mask = soft_mask(*shape)
        assert unsure_counts(device, on_device(device, mask), 0.1, 0.9) == twin.unsure_counts(mask, 0.1, 0.9), shape


def check_shares_around_a_pixel_agree_with_the_numpy_version_to_the_frames_very_edge(device: Device) -> None:
    for shape in SIZES:
        mask = soft_mask(*shape)
        for radius in (2, 11):
            out = device.download(unsure_around(device, on_device(device, mask), radius))
            assert worst(out, twin.unsure_around(mask, radius)) < 1e-5, (shape, radius)


def check_the_network_is_asked_where_its_share_is_more_than_nothing_and_the_trimap_unknown(device: Device) -> None:
    for shape in SIZES:
        rng = np.random.default_rng(shape[1])
        around = rng.random(shape, np.float32)
        bands = rng.choice(np.array([0, 128, 255], np.uint8), shape)
        share, asked = unsure_share(device, on_device(device, around), device.upload(bands), 0.2, 0.4)
        expected = twin.unsure_share(around.copy(), 0.2, 0.4)
        assert worst(device.download(share), expected) < 1e-6, shape
        assert np.array_equal(device.download(asked), (expected > 0) & (bands == 128)), shape
