"""conjugate_gradients.cu against elimination in float64 and against mattemill.kernels.closed_form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from cuda_checks.tools import worst

import mattemill.kernels.closed_form as twin
import mattemill.kernels.cuda.conjugate_gradients as launch
from mattemill.kernels.cuda.conjugate_gradients import FRAME, PAIRS, conjugate_gradients
from mattemill.kernels.cuda.device import Device

TRUST = 3e-3
AFTER = [(0, 1), (0, 2), *((dy, dx) for dy in (1, 2) for dx in range(-2, 3))]
SHAPES = [(1, 1), (1, 37), (3, 3), (41, 2), (23, 67)]


@contextmanager
def one_block_up_to(pixels: int) -> Iterator[None]:
    """So that a small picture takes the way of a large one."""
    before = launch._SMALL_PIXELS
    launch._SMALL_PIXELS = pixels
    try:
        yield
    finally:
        launch._SMALL_PIXELS = before


@dataclass(frozen=True, slots=True)
class Problem:
    """pairs: float32 (12, h + 4, w + 4). free: bool, alpha: float32, both (h + 4, w + 4)."""

    pairs: np.ndarray
    free: np.ndarray
    alpha: np.ndarray

    def rows(self) -> np.ndarray:
        """The matrix as the twin holds it, (25, n), and without trust."""
        at = np.flatnonzero(self.free)
        rows = np.zeros((5, 5, len(at)), np.float32)
        for (dy, dx), plane in zip(AFTER, self.pairs, strict=True):
            step = dy * self.free.shape[1] + dx
            rows[2 + dy, 2 + dx] = plane.ravel()[at]
            rows[2 - dy, 2 - dx] = plane.ravel()[at - step]
        rows[2, 2] = -rows.sum(axis=(0, 1))
        return rows.reshape(25, -1)

    def solved(self) -> np.ndarray:
        """Alpha by elimination, float64, not clipped."""
        at = np.flatnonzero(self.free)
        rows = self.rows().astype(np.float64)
        rows[12] -= rows.sum(axis=0)
        matrix = np.zeros((len(at), self.free.size))
        for number, row in enumerate(rows):
            step = (number // 5 - 2) * self.free.shape[1] + number % 5 - 2
            matrix[np.arange(len(at)), at + step] = row
        alpha = self.alpha.astype(np.float64).ravel()
        alpha[at] += np.linalg.solve(matrix[:, at] + TRUST * np.eye(len(at)), -matrix @ alpha)
        return alpha.reshape(self.alpha.shape)


def problem(height: int, width: int, share: float = 0.7) -> Problem:
    """Springs of random strength between the pixels of a picture, most of which are free."""
    rng = np.random.default_rng(height * 1009 + width)
    shape = (height + 2 * FRAME, width + 2 * FRAME)
    inside = np.zeros(shape, bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    pairs = np.zeros((PAIRS, *shape), np.float32)
    for plane, (dy, dx) in zip(pairs, AFTER, strict=True):
        both = inside & np.roll(inside, (-dy, -dx), (0, 1))
        plane[both] = -rng.random(both.sum(), np.float32)
    free = inside & (rng.random(shape) < share)
    return Problem(pairs, free, np.where(inside, rng.random(shape), 0).astype(np.float32))


def on(device: Device, given: Problem, iterations: int, count: int | None = None) -> np.ndarray:
    """Alpha as the device leaves it. count: how many pixels are said to be free."""
    alpha = device.upload(given.alpha)
    bands = device.upload(np.where(given.free, 128, 255).astype(np.uint8))
    free = device.upload(np.array([given.free.sum() if count is None else count], np.int32))
    conjugate_gradients(device, device.upload(given.pairs), bands, free, alpha, iterations, TRUST)
    return device.download(alpha)


def check_it_comes_to_the_solution_in_float64(device: Device) -> None:
    for pixels in (launch._SMALL_PIXELS, 0):
        with one_block_up_to(pixels):
            for shape in SHAPES:
                given = problem(*shape)
                assert worst(on(device, given, 30), given.solved()) < 1e-4, (shape, pixels)


def check_a_few_steps_are_those_of_the_numpy_version(device: Device) -> None:
    for pixels in (launch._SMALL_PIXELS, 0):
        with one_block_up_to(pixels):
            for shape, steps in (((23, 67), 0), ((23, 67), 1), ((23, 67), 2), ((23, 67), 5), ((3, 3), 3)):
                given = problem(*shape)
                expected = given.alpha.copy()
                twin._conjugate_gradients(given.rows(), expected, given.free, steps)
                assert worst(np.clip(on(device, given, steps), 0, 1), expected) < 3e-6, (shape, steps, pixels)


def check_once_solved_or_with_nothing_free_nothing_changes(device: Device) -> None:
    for pixels in (launch._SMALL_PIXELS, 0):
        with one_block_up_to(pixels):
            given = problem(9, 33)
            assert np.array_equal(on(device, given, 40), on(device, given, 90)), pixels
            nothing = problem(9, 33, share=0)
            assert np.array_equal(on(device, nothing, 3), nothing.alpha), pixels
            small = Problem(given.pairs, given.free, given.alpha * np.float32(1e-2))
            assert np.array_equal(on(device, small, 3, count=2**31 - 1), small.alpha), pixels
            assert not np.array_equal(on(device, small, 3), small.alpha), pixels
            level = Problem(given.pairs, given.free, np.full_like(given.alpha, 0.25))
            assert np.array_equal(on(device, level, 3), level.alpha), pixels


def check_where_there_is_no_minimum_it_stops_where_the_numpy_version_does(device: Device) -> None:
    for seed, share in ((2, 0.12), (7, 0.3)):  # where a step further goes far away
        given = problem(9, 33)
        turned = np.random.default_rng(seed).random(given.pairs.shape) < share
        given = Problem(np.where(turned, -given.pairs, given.pairs), given.free, given.alpha)
        expected = given.alpha.copy()
        twin._conjugate_gradients(given.rows(), expected, given.free, 30)
        for pixels in (launch._SMALL_PIXELS, 0):
            with one_block_up_to(pixels):
                assert worst(np.clip(on(device, given, 30), 0, 1), expected) < 1e-4, (seed, pixels)


def check_every_run_gives_the_same_bits(device: Device) -> None:
    for pixels in (launch._SMALL_PIXELS, 0):
        with one_block_up_to(pixels):
            given = problem(23, 67)
            assert np.array_equal(on(device, given, 9), on(device, given, 9)), pixels
