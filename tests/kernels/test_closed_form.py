"""Closed-form matting on a small copy: against pymatting, on edges whose truth is known, on odd sizes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mattemill.kernels import closed_form
from mattemill.kernels.closed_form import closed_form_lines, closed_form_matte
from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN

Bytes = npt.NDArray[np.uint8]


def stripes(height: int = 96, width: int = 128) -> tuple[Bytes, npt.NDArray[np.float64], Bytes]:
    """A photograph of a soft wavy edge between two grounds that change slowly, its alpha, and a wide trimap."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    edge = width / 2 + 6 * np.sin(rows / 7)
    alpha = np.clip((columns - edge) / 10 + 0.5, 0, 1)
    front = np.stack([200 + 0.2 * rows, 90 - 0.3 * rows, 60 + 0 * rows], 2)
    back = np.stack([40 + 0 * rows, 110 + 0.2 * columns, 180 - 0.2 * columns], 2)
    image = np.round(alpha[..., None] * front + (1 - alpha[..., None]) * back).astype(np.uint8)
    trimap = np.where(np.abs(columns - width / 2) < 14, UNKNOWN, np.where(columns > width / 2, FOREGROUND, BACKGROUND))
    return image, alpha, trimap.astype(np.uint8)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_an_edge_between_slowly_changing_colours_is_found(step: int) -> None:
    image, alpha, trimap = stripes()
    found = closed_form_matte(image, trimap, step)
    assert found.dtype == np.float32
    assert np.abs(found - alpha)[trimap == UNKNOWN].mean() < 0.03


def solved(image: Bytes, trimap: Bytes, epsilon: float = 1e-7) -> npt.NDArray[np.float64]:
    """Levin's equations 12 and 14 window by window, and the free pixels by elimination, in float64.

    The same as pymatting's `estimate_alpha_cf`, to 1e-8 on the photograph of the test; its compilation takes a
    minute.
    """
    height, width = trimap.shape
    laplacian = np.zeros((height * width, height * width))
    index = np.arange(height * width).reshape(height, width)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            colours = image[y - 1 : y + 2, x - 1 : x + 2].reshape(9, 3) / 255.0
            apart = colours - colours.mean(0)
            inner = np.linalg.inv(apart.T @ apart / 9 + epsilon / 9 * np.eye(3))
            at = index[y - 1 : y + 2, x - 1 : x + 2].ravel()
            laplacian[np.ix_(at, at)] += np.eye(9) - (1 + apart @ inner @ apart.T) / 9
    alpha = (trimap == FOREGROUND).astype(np.float64).ravel()
    free = np.flatnonzero(trimap.ravel() == UNKNOWN)
    alpha[free] = np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[free] @ alpha)
    return alpha.reshape(height, width)


def test_at_full_size_it_is_the_solution_of_the_equations() -> None:
    image, _, trimap = stripes(60, 80)
    image = np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    # Drawn by lines of windows of windows, so not the solution itself, but near it.
    found = closed_form_matte(image, trimap, step=1, iterations=400)
    assert np.abs(found - np.clip(solved(image, trimap), 0, 1))[trimap == UNKNOWN].mean() < 0.02


def test_what_the_trimap_knows_is_kept_and_without_a_band_nothing_is_solved() -> None:
    image, _, trimap = stripes()
    found = closed_form_matte(image, trimap)
    assert (found[trimap == FOREGROUND] == 1).all()
    assert (found[trimap == BACKGROUND] == 0).all()
    known = np.where(trimap == UNKNOWN, np.uint8(FOREGROUND), trimap)
    assert not closed_form_lines(image, known).any()
    assert np.array_equal(closed_form_matte(image, known), known == FOREGROUND)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 3), (3, 3), (37, 5), (53, 211), (200, 97)])
@pytest.mark.parametrize("step", [1, 4, 7])
def test_odd_sizes_give_finite_values_in_range(shape: tuple[int, int], step: int) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    trimap = rng.choice(np.array([0, 128, 255], np.uint8), shape)
    found = closed_form_matte(image, trimap, step)
    assert found.shape == shape
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert closed_form_lines(image, trimap, step).shape == (5, -(-shape[0] // step), -(-shape[1] // step))


@pytest.mark.parametrize("value", [0, 255])
def test_flat_ground_and_an_unknown_photograph_do_not_blow_up(value: int) -> None:
    image = np.full((120, 90, 3), value, np.uint8)
    for trimap in (np.full((120, 90), UNKNOWN, np.uint8), stripes(120, 90)[2]):
        found = closed_form_matte(image, trimap)
        assert np.isfinite(found).all()


def test_noise_on_black_does_not_blow_up() -> None:
    """Rounding in float32 can make the matrix indefinite there; it did, and gave NaN."""
    rng = np.random.default_rng(2)
    image = rng.integers(0, 3, (192, 192, 3), dtype=np.uint8)
    trimap = np.full((192, 192), UNKNOWN, np.uint8)
    trimap[:20], trimap[-20:] = FOREGROUND, BACKGROUND
    for blur in (0, 5):
        seen = cv2.blur(image, (blur, blur)) if blur else image
        assert np.isfinite(closed_form_matte(seen, trimap, 2, iterations=200)).all()


def test_where_the_photograph_decides_nothing_more_iterations_do_not_wander_off() -> None:
    """Flat stripes and a wide band: the matrix is nearly singular there, and rounding would choose."""
    rng = np.random.default_rng(3)
    image = np.repeat(rng.integers(0, 256, (12, 1, 3), dtype=np.uint8), 16, axis=0).repeat(192, axis=1)
    trimap = np.full((192, 192), UNKNOWN, np.uint8)
    trimap[:, :16], trimap[:, -16:] = FOREGROUND, BACKGROUND
    few, many = (closed_form_matte(image, trimap, 2, iterations=count) for count in (40, 400))
    assert np.abs(few - many).max() < 0.1


def test_the_same_alpha_everywhere_costs_nothing_wherever_the_colours_are_flat() -> None:
    """A row of the Laplacian sums to nothing; rounding left up to .07 there on photographs."""
    rows, columns = np.mgrid[:120, :160].astype(np.float32)
    ramp = np.stack([0.5 + rows / 4000, 0.4 + columns / 5000, 0.6 - rows / 6000], 2)
    colours = (ramp + np.random.default_rng(0).normal(0, 2e-4, ramp.shape)).astype(np.float32)
    free = np.zeros((120, 160), bool)
    free[20:100, 30:130] = True
    laplacian = closed_form._laplacian(closed_form._windows(colours, free), free)
    assert laplacian.shape == (25, 80 * 100)
    assert np.abs(laplacian.sum(0)).max() < 1e-5
    assert (laplacian[12] > 0).all()


@pytest.mark.parametrize("shape", [(1, 40), (8, 400), (60, 9000)])
def test_where_no_window_fits_the_free_pixels_are_neither_in_nor_out(shape: tuple[int, int]) -> None:
    trimap = np.full(shape, UNKNOWN, np.uint8)
    trimap[:, -10:] = FOREGROUND
    found = closed_form_matte(np.zeros((*shape, 3), np.uint8), trimap, step=max(4, shape[1] // 300))
    assert np.abs(found[:, : shape[1] // 2] - 0.5).max() < 0.3


def test_sizes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match="not of one size"):
        closed_form_matte(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8))


def test_where_colours_are_clean_and_change_slowly_the_laplacian_keeps_its_digits() -> None:
    """S is large there; S d_i in float32 put alpha up to .2 off on a rendered photograph."""
    image = cv2.resize(stripes(160, 120)[0], (30, 40), interpolation=cv2.INTER_AREA)
    free = np.zeros((44, 34), bool)
    free[5:-5, 10:-10] = True
    colours = np.pad(image.astype(np.float32) / np.float32(255), ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = closed_form._windows(colours, free)
    apart = windows.apart.astype(np.float64).transpose(2, 0, 1)
    a, b, c, d, e, f = windows.covariance.astype(np.float64)
    inner = np.linalg.inv(np.stack([a, d, e, d, b, f, e, f, c], 1).reshape(-1, 3, 3) + 1e-7 * np.eye(3))
    pairs = -(1 + np.einsum("nki,nij,nlj->nkl", apart, inner, apart, optimize=True)) / 9
    members = np.stack(windows.members, 1)
    exact = np.zeros((free.size, free.size))
    np.add.at(exact, (members[:, :, None], members[:, None, :]), pairs)
    found = closed_form._laplacian(windows, free)
    at = np.flatnonzero(free)
    for number in (*range(12), *range(13, 25)):
        beside = at + (number // 5 - 2) * free.shape[1] + number % 5 - 2
        assert np.abs(found[number] - exact[at, beside]).max() < 5e-5
