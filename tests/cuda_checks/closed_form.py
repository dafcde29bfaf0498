"""closed_form.cu, and the solver under it, against the equations in float64 and mattemill.kernels.closed_form."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from cuda_checks.conjugate_gradients import one_block_up_to
from cuda_checks.tools import SIZES, area_matrix, linear_matrix, on_device, photograph, resized, soft_mask, worst

from mattemill.kernels.closed_form import closed_form_lines as numpy_closed_form_lines
from mattemill.kernels.colour_lines import apply_colour_lines
from mattemill.kernels.cuda.closed_form import closed_form_lines
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.trimap import trimap


def reference(colours: np.ndarray, front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Levin's equations 12 and 14 window by window in float64, each level by elimination: lines (5, h, w).

    colours: (h, w, 3) in 0..1. The trust and the epsilons are those of mattemill.kernels.closed_form.
    """
    height, width = shape = front.shape
    lines = np.zeros((5, height, width))
    free = ~(front | back)
    if not free.any():
        return lines
    alpha = np.full(shape, 0.5)
    if min(shape) >= 48:
        size = (-(-height // 2), -(-width // 2))
        below = reference(resized(colours, size, area_matrix), all_of(front, size), all_of(back, size))
        drawn = np.stack([resized(line, shape, linear_matrix) for line in below], axis=-1)
        alpha = np.clip((drawn[..., :3] * colours).sum(axis=-1) + drawn[..., 3], 0, 1)
    alpha = np.where(front, 1.0, np.where(back, 0.0, alpha)).ravel()
    if min(shape) < 3:
        lines[3] = alpha.reshape(shape)
        return lines
    index = np.arange(height * width).reshape(shape)
    members = np.lib.stride_tricks.sliding_window_view(index, (3, 3)).reshape(-1, 9)
    members = members[free.ravel()[members].any(axis=1)]
    found = colours.reshape(-1, 3)[members]
    mean = found.mean(axis=1)
    apart = found - mean[:, None]
    covariance = np.einsum("nki,nkj->nij", apart, apart) / 9
    inverse = np.linalg.inv(covariance + 1e-7 * np.eye(3))
    pairs = np.eye(9) - (1 + np.einsum("nki,nij,nlj->nkl", apart, inverse, apart, optimize=True)) / 9
    at = np.flatnonzero(free)
    number = np.full(height * width, -1)
    number[at] = np.arange(len(at))
    laplacian = np.zeros((len(at), height * width))
    for k in range(9):
        rows = number[members[:, k]]
        np.add.at(laplacian, (rows[rows >= 0, None], members[rows >= 0]), pairs[rows >= 0, k])
    alpha[at] += np.linalg.solve(laplacian[:, at] + 3e-3 * np.eye(len(at)), -laplacian @ alpha)
    values = np.clip(alpha, 0, 1)[members]
    slopes = np.einsum("nij,nkj,nk->ni", np.linalg.inv(covariance + 1e-5 * np.eye(3)), apart, values, optimize=True)
    slopes /= 9
    fits = np.column_stack([slopes, values.mean(axis=1) - (slopes * mean).sum(axis=1), np.ones(len(members))])
    summed = np.zeros((height * width, 5))
    for k in range(9):
        np.add.at(summed, members[:, k], fits)
    lines[:4] = (summed[:, :4] / np.maximum(summed[:, 4:], 1)).T.reshape(4, height, width)
    return lines


def all_of(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether a cell is, but for what a byte rounds away."""
    return np.rint(255 * resized(mask, size, area_matrix)) >= 254


def soft_edge(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Two clean grounds that change slowly, and a trimap around the wavy edge between them."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    alpha = np.clip((columns - width / 2 - 6 * np.sin(rows / 7)) / 10 + 0.5, 0, 1)[..., None]
    front = np.stack([200 + 0.2 * rows, 90 - 0.3 * rows, 60 + 0 * rows], 2)
    back = np.stack([40 + 0 * rows, 110 + 0.2 * columns, 180 - 0.2 * columns], 2)
    image = np.round(alpha * front + (1 - alpha) * back).astype(np.uint8)
    marks = np.where(np.abs(columns - width / 2) < 14, 128, np.where(columns > width / 2, 255, 0))
    return image, marks.astype(np.uint8)


def noisy(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph that is mostly noise, and a trimap of a soft disc with specks."""
    return photograph(height, width), trimap(soft_mask(height, width), 2)


def scattered(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and a trimap that is noise too."""
    rng = np.random.default_rng(height * 1009 + width)
    marks = rng.choice(np.array([0, 128, 255], np.uint8), (height, width))
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), marks


@functools.cache
def solved(make: Callable[[int, int], tuple[np.ndarray, np.ndarray]], shape: tuple[int, int], step: int) -> np.ndarray:
    """The reference for a picture at 1/step of its size."""
    image, marks = make(*shape)
    size = (-(-shape[0] // step), -(-shape[1] // step))
    return reference(
        np.rint(resized(image, size, area_matrix)) / 255, all_of(marks == 255, size), all_of(marks == 0, size)
    )


def on(device: Device, given: tuple[np.ndarray, np.ndarray], step: int, iterations: int = 20) -> np.ndarray:
    """The device's lines, of views that lie at odd addresses."""
    image, marks = (on_device(device, array) for array in given)
    return device.download(closed_form_lines(device, image, marks, step, iterations))


def drawn(lines: np.ndarray, image: np.ndarray) -> np.ndarray:
    """What the lines say of the photograph: where colours hardly differ, slopes may, and alpha does not."""
    return apply_colour_lines(lines.astype(np.float32), image, np.zeros(image.shape[:2], np.float32))


def check_it_agrees_with_the_equations_in_float64(device: Device) -> None:
    # Where colours are clean and change slowly, slopes are worth little, and the Laplacian is what its rounding leaves:
    # in float32 alpha would be off by 9e-3 there.
    cases = [(noisy, shape, 1, 1e-3, 5e-3) for shape in ((3, 3), (3, 50), (48, 50))]
    cases += [(soft_edge, (160, 120), 4, 1e-3, 3e-2)]
    for make, shape, step, tolerance, of_lines in cases:
        given = make(*shape)
        lines, truth = on(device, given, step, iterations=400), solved(make, shape, step)
        assert worst(lines, truth) < of_lines, shape
        assert worst(drawn(lines, given[0]), drawn(truth, given[0])) < tolerance, shape


def check_it_agrees_with_the_numpy_version(device: Device) -> None:
    cases = [(make(*shape), step) for shape in SIZES[:4] for make, step in ((noisy, 1), (scattered, 4), (noisy, 3))]
    cases += [(scattered(53, 211), 3), (noisy(211, 89), 7), (scattered(2, 50), 1), (noisy(128, 160), 4)]
    cases += [(soft_edge(160, 120), 4)]  # clean ground: alike only if both are in double
    for given, step in cases:
        lines, twin = on(device, given, step), numpy_closed_form_lines(*given, step)
        assert worst(lines, twin) < 1e-3, (given[1].shape, step)
        assert worst(drawn(lines, given[0]), drawn(twin, given[0])) < 1e-4, (given[1].shape, step)


def check_launches_for_every_step_come_to_the_same(device: Device) -> None:
    with one_block_up_to(0):
        for given, step in ((noisy(49, 53), 1), (scattered(41, 1), 1)):
            lines, twin = on(device, given, step), numpy_closed_form_lines(*given, step)
            assert worst(lines, twin) < 1e-3, (given[1].shape, step)
            assert worst(drawn(lines, given[0]), drawn(twin, given[0])) < 1e-4, (given[1].shape, step)


def check_without_anything_unknown_all_lines_are_0(device: Device) -> None:
    image = photograph(61, 97)
    for shape, step in (((61, 97), 1), ((61, 97), 4), ((5, 97), 2), ((31, 97), 16)):
        # Cells of both grounds are free at a smaller size, but nothing was asked for.
        known = np.where(np.indices(shape).sum(axis=0) % 3, 255, 0).astype(np.uint8)
        assert not on(device, (image[: shape[0]], known), step).any(), (shape, step)
        hidden = np.full(shape, 255, np.uint8)
        hidden[1, 1] = 128  # of a cell of 256 it is too little to count
        given = (image[: shape[0]], hidden)
        for size in (step, 16):
            twin = numpy_closed_form_lines(*given, size)
            assert worst(on(device, given, size), twin) < 1e-5, (shape, size)


def check_flat_and_dark_ground_and_no_sure_pixel_do_not_blow_up(device: Device) -> None:
    rng = np.random.default_rng(2)
    grain = rng.integers(0, 3, (96, 96, 3), dtype=np.uint8)
    marks = np.full((96, 96), 128, np.uint8)
    marks[:10], marks[-10:] = 255, 0
    black, white = (np.full((96, 96, 3), value, np.uint8) for value in (0, 255))
    for image in (grain, black, white):
        for given in ((image, marks), (image, np.full_like(marks, 128))):
            lines, twin = on(device, given, 2), numpy_closed_form_lines(*given, 2)
            assert worst(drawn(lines, image), drawn(twin, image)) < 1e-4
