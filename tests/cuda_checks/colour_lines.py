"""colour_lines.cu against float64 and against mattemill.kernels.colour_lines."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, linear_matrix, on_device, photograph, resized, soft_mask, worst

from mattemill.kernels.colour_lines import apply_colour_lines
from mattemill.kernels.cuda.colour_lines import draw_colour_lines
from mattemill.kernels.cuda.device import Device


def applied(lines: np.ndarray, image: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """alpha by definition, float64."""
    large = np.stack([resized(plane, prior.shape, linear_matrix) for plane in lines])
    return np.clip((np.moveaxis(large[:3], 0, -1) * image / 255).sum(-1) + large[3] + large[4] * prior, 0, 1)


def check_lines_of_any_size_are_drawn_in_the_unknown_band_alone(device: Device) -> None:
    for height, width in SIZES:
        rng = np.random.default_rng(height * 1009 + width)
        image, prior = photograph(height, width), soft_mask(height, width)
        bands = rng.choice(np.array([0, 128, 255], np.uint8), (height, width))
        for step in (1, 2, 4):
            lines = rng.normal(0, 1, (5, -(-height // step), -(-width // step))).astype(np.float32)
            given = on_device(device, image), on_device(device, prior), device.upload(bands)
            out = device.download(draw_colour_lines(device, device.upload(lines), *given))
            truth = np.where(bands == 128, applied(lines, image, prior), bands == 255)
            assert worst(out, truth) < 1e-5, (height, width, step)
            twin = np.where(bands == 128, apply_colour_lines(lines, image, prior), bands == 255)
            assert worst(out, twin) < 1e-5, (height, width, step)
