"""compose.cu against mattemill.kernels.compose, and 'over' against float64."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, on_device, photograph, soft_mask, worst

from mattemill.kernels.compose import alpha_bytes
from mattemill.kernels.compose import compose_over as numpy_compose_over
from mattemill.kernels.compose import compose_rgba as numpy_compose_rgba
from mattemill.kernels.cuda.compose import alpha_bytes as device_alpha_bytes
from mattemill.kernels.cuda.compose import compose_over, compose_rgba
from mattemill.kernels.cuda.device import Device


def check_every_byte_of_rgba_is_that_of_the_numpy_version(device: Device) -> None:
    for shape in SIZES:
        image, mask = photograph(*shape), soft_mask(*shape)
        for alpha in (mask, alpha_bytes(mask)):
            out = device.download(compose_rgba(device, on_device(device, image), on_device(device, alpha)))
            assert np.array_equal(out, numpy_compose_rgba(image, alpha)), shape


def check_alpha_that_leaves_0_to_1_is_clipped(device: Device) -> None:
    alpha = np.linspace(-0.5, 1.5, 40, dtype=np.float32).reshape(1, 40)
    out = device.download(compose_rgba(device, device.upload(photograph(1, 40)), device.upload(alpha)))
    assert np.array_equal(out[..., 3], alpha_bytes(alpha))


def check_over_agrees_with_float64_and_the_numpy_version(device: Device) -> None:
    colour = np.array([250, 3, 128], np.uint8)
    for shape in SIZES:
        image, mask = photograph(*shape), soft_mask(*shape)
        picture = np.ascontiguousarray(photograph(*shape)[::-1, ::-1])
        for alpha in (mask, alpha_bytes(mask)):
            weight = alpha[..., None].astype(np.float64) / (255 if alpha.dtype == np.uint8 else 1)
            for back in (picture, colour):
                given = on_device(device, picture) if back.ndim == 3 else tuple(colour.tolist())
                out = device.download(compose_over(device, on_device(device, image), on_device(device, alpha), given))
                truth = weight * image + (1 - weight) * back.astype(np.float64)
                assert worst(out, truth) < 0.501, shape
                assert worst(out, numpy_compose_over(image, alpha, back).astype(np.float64)) <= 1, shape


def check_every_byte_of_an_alpha_is_that_of_the_numpy_version(device: Device) -> None:
    for shape in SIZES:
        mask = soft_mask(*shape) * 1.2 - np.float32(0.1)
        out = device.download(device_alpha_bytes(device, on_device(device, mask)))
        assert np.array_equal(out, alpha_bytes(mask)), shape
