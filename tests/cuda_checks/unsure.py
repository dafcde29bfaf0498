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


def check_shares_around_a_pixel_are_those_of_the_numpy_version_to_the_frames_very_edge(device: Device) -> None:
    for shape in SIZES:
        mask = soft_mask(*shape)
        for radius in (2, 11):
            out = device.download(unsure_around(device, on_device(device, mask), radius))
            assert worst(out, twin.unsure_around(mask, radius)) < 1e-7, (shape, radius)


def check_a_share_of_exactly_the_least_is_not_asked_for_as_on_the_host(device: Device) -> None:
    # A fifth of 25, 225 and 625 pixels is a whole number: the stripes are at exactly that nearly everywhere.
    shape = SIZES[3]
    rng = np.random.default_rng(5)
    stripes = np.broadcast_to(np.where(np.arange(shape[1]) % 5, 1, 0.5), shape).astype(np.float32)
    grain = np.where(rng.random(shape) < 0.2, 0.5, 1).astype(np.float32)
    bands = np.full(shape, 128, np.uint8)
    for radius in (2, 7, 12):
        pixels = (2 * radius + 1) ** 2
        for mask in (stripes, grain):
            around = twin.unsure_around(mask, radius)
            assert np.any(np.rint(around * pixels) * 5 == pixels), "not the case that it is to show"
            made = unsure_around(device, on_device(device, mask), radius)
            _, asked = unsure_share(device, made, device.upload(bands), 0.2, 0.4)
            expected = twin.unsure_share(around, 0.2, 0.4) > 0
            assert np.array_equal(device.download(asked), expected), radius


def check_the_network_is_asked_where_its_share_is_more_than_nothing_and_the_trimap_unknown(device: Device) -> None:
    for shape in SIZES:
        rng = np.random.default_rng(shape[1])
        around = rng.random(shape, np.float32)
        bands = rng.choice(np.array([0, 128, 255], np.uint8), shape)
        share, asked = unsure_share(device, on_device(device, around), device.upload(bands), 0.2, 0.4)
        expected = twin.unsure_share(around.copy(), 0.2, 0.4)
        assert worst(device.download(share), expected) < 1e-6, shape
        assert np.array_equal(device.download(asked), (expected > 0) & (bands == 128)), shape
