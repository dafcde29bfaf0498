"""foreground.cu against the method in float64 and against mattemill.kernels.foreground."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from cuda_checks.tools import SIZES, area_matrix, on_device, photograph, resized, soft_mask, worst

import mattemill.kernels.cuda.foreground as launch
import mattemill.kernels.foreground as twin
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.foreground import estimate_foreground


@contextmanager
def solved_at(pixels: int) -> Iterator[None]:
    """So that a small picture takes the way of a large one."""
    before = launch._SOLVED_PIXELS, twin._SOLVED_PIXELS
    launch._SOLVED_PIXELS = twin._SOLVED_PIXELS = pixels  # type: ignore[misc]
    try:
        yield
    finally:
        launch._SOLVED_PIXELS, twin._SOLVED_PIXELS = before  # type: ignore[misc]


def reference(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The multi-level method and the closed form in float64, at the size that the picture has."""
    pyramid = [(image.astype(np.float64), alpha.astype(np.float64))]
    while max(pyramid[-1][1].shape) > 1:
        pixels, mix = pyramid[-1]
        size = (-(-mix.shape[0] // 2), -(-mix.shape[1] // 2))
        halved = mix.shape[0] == 2 * size[0] and mix.shape[1] == 2 * size[1]
        small = resized(pixels, size, area_matrix)
        pyramid.append((np.floor(small + 0.5) if halved else np.rint(small), resized(mix, size, area_matrix)))
    sure = [image[mask].mean(axis=0) if mask.any() else np.full(3, 127.5) for mask in (alpha > 0.9, alpha < 0.1)]
    colours = np.concatenate(sure).reshape(1, 1, 6) / 255
    for pixels, mix in reversed(pyramid):
        (height, width), before = mix.shape, colours.shape
        rows, columns = np.arange(height) * before[0] // height, np.arange(width) * before[1] // width
        colours = colours[rows][:, columns]
        small = max(mix.shape) <= 32
        swept = np.ones(mix.shape, bool) if small else (mix > 0) & (mix < 1)
        chess = np.indices(mix.shape).sum(axis=0) % 2
        for half in (0, 1) * (10 if small else 6):
            colours = np.where((swept & (chess == half))[..., None], _step(pixels / 255, mix, colours), colours)
    colours = np.floor(colours * 255 + 0.5)
    front, back, mix = colours[..., :3], colours[..., 3:], alpha[..., None].astype(np.float64)
    closed = np.clip(front + mix * (image - mix * front - (1 - mix) * back) + 0.5, 0, 255)
    return np.where(mix >= 1, image, np.where(mix <= 0, front, np.floor(closed)))


def _step(pixels: np.ndarray, mix: np.ndarray, colours: np.ndarray) -> np.ndarray:
    edge_mix, edge_colours = np.pad(mix, 1, "edge"), np.pad(colours, ((1, 1), (1, 1), (0, 0)), "edge")
    total = np.concatenate([mix[..., None] * pixels, (1 - mix[..., None]) * pixels], axis=-1)
    pull = np.zeros(mix.shape)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        part = (slice(down, down + mix.shape[0]), slice(right, right + mix.shape[1]))
        weight = 1e-5 + np.abs(mix - edge_mix[part])
        pull += weight
        total += weight[..., None] * edge_colours[part]
    matrix = np.empty((*mix.shape, 2, 2))
    matrix[..., 0, 0], matrix[..., 1, 1] = mix * mix + pull, (1 - mix) ** 2 + pull
    matrix[..., 0, 1] = matrix[..., 1, 0] = mix * (1 - mix)
    solved = np.linalg.solve(matrix, total.reshape(*mix.shape, 2, 3))
    return np.clip(solved, 0, 1).reshape(*mix.shape, 6)


def check_it_agrees_with_the_method_in_float64(device: Device) -> None:
    for shape in [(1, 1), (1, 37), (41, 1), (61, 97), (24, 31)]:
        image, mask = photograph(*shape), soft_mask(*shape)
        out = device.download(estimate_foreground(device, on_device(device, image), on_device(device, mask)))
        truth = reference(image, mask)
        assert worst(out, truth) <= 5, shape  # a lone soft pixel; the NumPy version is 4 off there: float32
        assert (np.abs(out - truth) > 1).mean() < 0.01, shape


def check_it_agrees_with_the_numpy_version(device: Device) -> None:
    for shape in [*SIZES, (23, 300)]:
        image, mask = photograph(*shape), soft_mask(*shape)
        out = device.download(estimate_foreground(device, on_device(device, image), on_device(device, mask)))
        expected = twin.estimate_foreground(image, mask).astype(np.float64)
        assert worst(out, expected) <= 3, shape
        assert (np.abs(out - expected) > 1).mean() < 0.01, shape


def check_a_large_picture_is_solved_smaller_and_sharpened(device: Device) -> None:
    with solved_at(2000):
        for shape in [*SIZES, (23, 300), (300, 2)]:
            image, mask = photograph(*shape), soft_mask(*shape)
            out = device.download(estimate_foreground(device, on_device(device, image), on_device(device, mask)))
            expected = twin.estimate_foreground(image, mask).astype(np.float64)
            assert worst(out, expected) <= 3, shape
            assert (np.abs(out - expected) > 1).mean() < 0.01, shape


def check_the_photograph_itself_is_kept_where_it_is_all_subject(device: Device) -> None:
    image, mask = photograph(61, 97), soft_mask(61, 97)
    out = device.download(estimate_foreground(device, device.upload(image), device.upload(mask)))
    assert (mask >= 1).sum() > 100
    assert np.array_equal(out[mask >= 1], image[mask >= 1])
