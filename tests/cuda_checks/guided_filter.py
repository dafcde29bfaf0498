"""guided_filter.cu against the paper in float64 and against mattemill.kernels.guided_filter."""

from __future__ import annotations

import numpy as np
from cuda_checks.box_filter import mean64
from cuda_checks.tools import SIZES, on_device, photograph, soft_mask, worst

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.guided_filter import guided_filter
from mattemill.kernels.guided_filter import guided_filter as numpy_guided_filter


def reference(guide: np.ndarray, target: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Equations 5, 6 and 14 to 16 of He, Sun, Tang, in float64."""
    height, width = target.shape
    guide = guide.reshape(height, width, -1).astype(np.float64)
    channels = guide.shape[2]

    def mean(plane: np.ndarray) -> np.ndarray:
        return mean64(plane, radius)

    means = np.stack([mean(guide[..., c]) for c in range(channels)], axis=-1)
    mean_target = mean(target)
    covariance = np.stack([mean(guide[..., c] * target) for c in range(channels)], axis=-1)
    covariance -= means * mean_target[..., None]
    sigma = np.empty((height, width, channels, channels))
    for i in range(channels):
        for j in range(channels):
            sigma[..., i, j] = mean(guide[..., i] * guide[..., j]) - means[..., i] * means[..., j]
    slopes = np.linalg.solve(sigma + eps * np.eye(channels), covariance[..., None])[..., 0]
    offset = mean_target - (slopes * means).sum(axis=-1)
    slopes = np.stack([mean(slopes[..., c]) for c in range(channels)], axis=-1)
    return (slopes * guide).sum(axis=-1) + mean(offset)


def check_it_agrees_with_the_paper_in_float64(device: Device) -> None:
    for shape in [*SIZES[:3], (47, 61)]:
        image, mask = photograph(*shape), soft_mask(*shape)
        for guide in (image, np.ascontiguousarray(image[..., 1])):
            for radius, eps, tolerance in ((5, 1e-4, 2e-3), (9, 1e-2, 2e-4)):
                out = guided_filter(device, on_device(device, guide), on_device(device, mask), radius, eps)
                truth = reference(guide / 255.0, mask, radius, eps)
                assert worst(device.download(out), truth) < tolerance, (shape, guide.ndim, radius)


def check_it_agrees_with_the_numpy_version_at_a_lower_resolution(device: Device) -> None:
    cases = [((1, 37), 2), ((41, 1), 3), ((61, 97), 3), ((64, 96), 2), ((67, 53), 1)]
    for shape, subsample in cases:
        image, mask = photograph(*shape), soft_mask(*shape)
        for guide in (image, (image / 255).astype(np.float32), np.ascontiguousarray(image[..., 0])):
            out = guided_filter(device, on_device(device, guide), on_device(device, mask), 9, 1e-4, subsample)
            twin = numpy_guided_filter(guide, mask, 9, 1e-4, subsample)
            assert worst(device.download(out), twin) < 1e-3, (shape, guide.dtype, subsample)
