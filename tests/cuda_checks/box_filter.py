"""box_filter.cu against float64."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import worst

from mattemill.kernels.cuda.box_filter import COLOUR, GREY, box_mean, box_share
from mattemill.kernels.cuda.device import Device


def mean64(plane: np.ndarray, radius: int, repeat_edge: bool = False) -> np.ndarray:
    """Means over squares by definition, in float64."""
    plane = plane.astype(np.float64)
    for axis in (0, 1):
        length = plane.shape[axis]
        at = np.arange(length)
        taps = np.arange(-radius, radius + 1)
        index = at[:, None] + taps[None]
        inside = (index >= 0) & (index < length) if not repeat_edge else np.ones(index.shape, bool)
        matrix = np.zeros((length, length))
        rows = np.broadcast_to(at[:, None], index.shape)
        np.add.at(matrix, (rows[inside], np.clip(index, 0, length - 1)[inside]), 1)
        matrix /= matrix.sum(axis=1, keepdims=True)
        plane = matrix @ plane if axis == 0 else plane @ matrix.T
    return plane


def check_means_of_a_batch_agree_with_float64(device: Device) -> None:
    rng = np.random.default_rng(2)
    for shape in [(1, 1, 1), (2, 1, 300), (2, 67, 1), (3, 37, 61), (1, 64, 257)]:
        planes = rng.random(shape, np.float32)
        for radius in (0, 1, 7, 40):
            for repeat_edge in (False, True):
                out = device.download(box_mean(device, device.upload(planes), radius, repeat_edge=repeat_edge))
                truth = np.stack([mean64(plane, radius, repeat_edge) for plane in planes])
                assert worst(out, truth) < 3e-6, (shape, radius, repeat_edge, worst(out, truth))


def check_shares_are_whole_counts_times_one_over_the_pixels_of_the_square(device: Device) -> None:
    rng = np.random.default_rng(6)
    for shape in [(1, 1, 1), (2, 1, 300), (2, 67, 1), (3, 37, 61), (1, 64, 257)]:
        planes = (rng.random(shape) < 0.4).astype(np.float32)
        for radius in (0, 1, 7, 40):
            pixels = (2 * radius + 1) ** 2
            margin = ((0, 0), (radius, radius), (radius, radius))
            squares = np.lib.stride_tricks.sliding_window_view(np.pad(planes, margin), (2 * radius + 1,) * 2, (1, 2))
            truth = (squares.sum(axis=(3, 4), dtype=np.float64) * (1 / pixels)).astype(np.float32)
            out = device.download(box_share(device, device.upload(planes), radius))
            assert np.array_equal(out, truth), (shape, radius)


def check_large_values_keep_their_digits(device: Device) -> None:
    planes = (1000 + np.random.default_rng(3).random((1, 40, 300))).astype(np.float32)
    out = device.download(box_mean(device, device.upload(planes), 9))
    assert worst(out[0], mean64(planes[0], 9)) < 2e-4  # three units in the last place of a float at 1000


def check_means_of_products_are_in_the_order_that_is_said(device: Device) -> None:
    rng = np.random.default_rng(4)
    planes = rng.random((4, 19, 33), np.float32)
    r, g, b, p = planes
    colour = [r, g, b, p, r * p, g * p, b * p, r * r, g * g, b * b, r * g, r * b, g * b]
    for given, layout, products in ((planes, COLOUR, colour), (planes[2:], GREY, [b, p, b * p, b * b])):
        out = device.download(box_mean(device, device.upload(given), 3, layout=layout))
        assert len(out) == len(products)
        for plane, product in zip(out, products, strict=True):
            assert worst(plane, mean64(product, 3)) < 3e-6
