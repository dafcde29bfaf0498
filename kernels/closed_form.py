"""Closed-form matting on a small copy of the photograph, drawn at full size by the colour lines that it finds.

Levin, Lischinski, Weiss: A Closed-Form Solution to Natural Image Matting, TPAMI 2008. Alpha is an affine function of
the colour in every 3x3 window; what is free is solved by conjugate gradients, coarse to fine, each level started from
the colour lines of the one before (their section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.colour_lines import apply_colour_lines
from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_EPSILON = 1e-7  # of a window's covariance of colours in 0..1: how little a slope must explain to count
_LINES_EPSILON = 1e-5  # the same of the lines that are drawn: what they are drawn on is not what they were found on
_COARSEST = 24  # px of the shorter side; a level of half the size would hold no band
_FROM_NOTHING = 200  # iterations of the smallest level, which starts from nothing and costs next to nothing
_TRUST = 3e-3  # in where a level starts; where the photograph decides nothing, rounding would
_WINDOW = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # of channels: a symmetric matrix in six numbers
_FRAME = 2  # px around a level, so that every neighbour of a window's pixels has an index


def closed_form_matte(
    image: npt.NDArray[np.uint8], trimap: npt.NDArray[np.uint8], step: int = 4, iterations: int = 20
) -> Plane:
    """Alpha, float32 (H, W) in 0..1: exactly 0 and 1 where the trimap knows, else the drawn `closed_form_lines`."""
    lines = closed_form_lines(image, trimap, step, iterations)
    matte = apply_colour_lines(lines, image, np.zeros(trimap.shape, np.float32))
    matte[trimap == BACKGROUND] = 0.0
    matte[trimap == FOREGROUND] = 1.0
    return matte


def closed_form_lines(
    image: npt.NDArray[np.uint8], trimap: npt.NDArray[np.uint8], step: int = 4, iterations: int = 20
) -> Plane:
    """Colour lines of the closed-form matte of 1/step of the photograph: float32 (5, ceil(H / step), ceil(W / step)).

    As `apply_colour_lines` takes them: three slopes, the offset, and a weight of a prior, which is 0; all 0 further
    than two pixels (of the small copy) from what is unknown. image: uint8 (H, W, 3). trimap: uint8 (H, W). iterations:
    of conjugate gradients, at most; on each smaller level twice as many, for a quarter of the cost each.
    Raises ValueError when the two are not of one size.
    """
    height, width = trimap.shape
    if image.shape != (height, width, 3):
        raise ValueError(f"image {image.shape} and trimap {trimap.shape} are not of one size")
    size = (-(-width // step), -(-height // step))
    if not (trimap == UNKNOWN).any():
        return np.zeros((5, size[1], size[0]), np.float32)
    colours = _reduced(image, size).astype(np.float32)
    colours *= np.float32(1 / 255)
    return _solve(colours, _all_of(trimap == FOREGROUND, size), _all_of(trimap == BACKGROUND, size), iterations)


def _solve(colours: Plane, front: Mask, back: Mask, iterations: int) -> Plane:
    """The lines (5, h, w) of a level, after those below it."""
    height, width = front.shape
    free = ~(front | back)
    if not free.any():
        return np.zeros((5, height, width), np.float32)
    if min(height, width) >= 2 * _COARSEST:
        size = (-(-width // 2), -(-height // 2))
        below = _solve(_reduced(colours, size), _all_of(front, size), _all_of(back, size), 2 * iterations)
        alpha = _drawn(below, colours)
    else:
        alpha = np.full(front.shape, 0.5, np.float32)
        iterations = max(iterations, _FROM_NOTHING)
    alpha[front] = 1.0
    alpha[back] = 0.0
    # With a frame, every neighbour of a free pixel has an index. Nothing of it is free, and no window reaches into it.
    alpha = np.pad(alpha, _FRAME, mode="edge")
    free = np.pad(free, _FRAME)
    windows = _windows(np.pad(colours, ((_FRAME, _FRAME), (_FRAME, _FRAME), (0, 0)), mode="edge"), free)
    if not len(windows.members[0]):  # a side of less than three pixels: alpha as it is, whatever the colour
        lines = np.zeros((5, height, width), np.float32)
        lines[3] = alpha[_FRAME:-_FRAME, _FRAME:-_FRAME]
        return lines
    _conjugate_gradients(_laplacian(windows, free), alpha, free, iterations)
    return _lines(windows, alpha)[:, _FRAME:-_FRAME, _FRAME:-_FRAME]


@dataclass(frozen=True, slots=True)
class _Windows:
    """The n 3x3 windows that hold a free pixel and nothing of the frame.

    members: their pixels' flat indices, nine of (n,). mean: (3, n). apart: (9, 3, n), colours less their mean.
    covariance: (6, n), as `_inverse` takes it.
    """

    members: list[npt.NDArray[np.intp]]
    mean: Plane
    apart: Plane
    covariance: Plane


def _windows(colours: Plane, free: Mask) -> _Windows:
    centres = cv2.dilate(free.view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    edge = _FRAME + 1
    centres[:edge] = centres[-edge:] = False
    centres[:, :edge] = centres[:, -edge:] = False
    middle = np.flatnonzero(centres)
    members = [middle + dy * free.shape[1] + dx for dy, dx in _WINDOW]
    flat = np.ascontiguousarray(colours.reshape(-1, 3).T)
    apart = np.stack([flat[:, member] for member in members])
    mean = apart.mean(0)
    apart -= mean
    covariance = np.stack([np.einsum("kn,kn->n", apart[:, a], apart[:, b]) for a, b in _PAIRS])
    covariance *= np.float32(1 / 9)
    return _Windows(members, mean, apart, covariance)


def _laplacian(windows: _Windows, free: Mask) -> Plane:
    """The matting Laplacian's rows of the free pixels: float32 (25, n), by neighbour from (-2, -2) to (2, 2)."""
    inverse = _inverse(windows.covariance, _EPSILON)
    middle = windows.members[4]
    number = np.full(free.size, len(middle))  # of the window around a pixel; one of zeros where there is none
    number[middle] = np.arange(len(middle))
    pixels = np.flatnonzero(free)
    # delta_ij - (1 + d_i S d_j) / 9, of a window's pixels i and j: symmetric
    pairs = np.zeros((9, 9, len(middle) + 1), np.float32)
    for i in range(8):
        # In double: S is large where colours are flat, and what it says of colours that are not cancels.
        along = _times(inverse, windows.apart[i]).astype(np.float32)
        for j in range(i + 1, 9):
            affinity = np.einsum("cn,cn->n", along, windows.apart[j], out=pairs[i, j, :-1])
            affinity += 1
            affinity *= np.float32(-1 / 9)
            pairs[j, i, :-1] = affinity
    # The same alpha everywhere costs nothing: a row sums to nothing. Computed by itself, the diagonal would be off by
    # the rounding of S, which is ill-conditioned where colours are flat, and by far more than `_TRUST`.
    for i in range(9):
        pairs[i, i] = -pairs[i].sum(axis=0)
    rows = np.zeros((5, 5, len(pixels)), np.float32)
    for i, (dy, dx) in enumerate(_WINDOW):
        # The window in which a pixel is the i-th.
        of = np.take(number, pixels - (dy * free.shape[1] + dx))
        found = np.take(pairs[i], of, axis=1).reshape(3, 3, -1)
        rows[1 - dy : 4 - dy, 1 - dx : 4 - dx] += found
    return rows.reshape(25, -1)


def _conjugate_gradients(rows: Plane, alpha: npt.NDArray[Any], free: Mask, iterations: int) -> None:
    """Solve for the free pixels of `alpha` in place, from where it is, with Jacobi's preconditioner."""
    at = np.flatnonzero(free)
    neighbours = np.stack([at + dy * free.shape[1] + dx for dy in range(-2, 3) for dx in range(-2, 3)])
    x = alpha.ravel()
    direction = np.zeros_like(x)
    beside = np.empty(neighbours.shape, np.float32)

    def times(vector: npt.NDArray[Any]) -> Plane:
        np.take(vector, neighbours, out=beside, mode="clip")  # any other mode goes through a copy
        np.multiply(beside, rows, out=beside)
        return np.asarray(beside.sum(axis=0))  # faster than einsum here

    solution = x[at]
    residual = -times(x)
    rows[12] += np.float32(_TRUST)
    inverse = 1 / rows[12]
    along = inverse * residual
    power = float(np.vdot(residual, along))
    for _ in range(iterations):
        direction[at] = along
        image = times(direction)
        curvature = float(np.vdot(along, image))
        if power <= 1e-10 * len(at) or curvature <= 1e-6 * float(np.vdot(along, along)):
            break  # solved; or flat as far as float32 can tell, and a step along it would go anywhere
        length = np.float32(power / curvature)
        solution += length * along
        residual -= length * image
        preconditioned = inverse * residual
        before, power = power, float(np.vdot(residual, preconditioned))
        along *= np.float32(power / before)
        along += preconditioned
    alpha[free] = np.clip(solution, 0.0, 1.0)


def _lines(windows: _Windows, alpha: Plane) -> Plane:
    """The affine functions of the windows, averaged over those of a pixel: float32 (5, h, w)."""
    height, width = alpha.shape
    out = np.zeros((5, height, width), np.float32)
    flat = alpha.ravel()
    values = np.stack([flat[member] for member in windows.members])
    together = np.einsum("kcn,kn->cn", windows.apart, values) * np.float32(1 / 9)
    slopes = _times(_inverse(windows.covariance, _LINES_EPSILON).astype(np.float32), together)
    # One more plane than lines: how many windows a pixel lies in.
    planes = out.reshape(5, -1)
    middle = windows.members[4]
    planes[:3, middle] = slopes
    planes[3, middle] = values.mean(0) - (slopes * windows.mean).sum(0)
    planes[4, middle] = 1
    summed = [cv2.blur(plane, (3, 3), borderType=cv2.BORDER_CONSTANT) for plane in out]
    count = np.maximum(summed[4], np.float32(1e-6))
    for number in range(4):
        np.divide(summed[number], count, out=out[number])
    out[4] = 0
    return out


def _inverse(covariance: Plane, epsilon: float) -> npt.NDArray[np.float64]:
    """Inverse of n symmetric 3x3 matrices with `epsilon` on the diagonal, by cofactors; in double, for they cancel.

    float32 (6, n), by `_PAIRS`; so is the inverse, in float64.
    """
    wide = covariance.astype(np.float64)
    wide[:3] += epsilon
    a, b, c, d, e, f = wide
    out = np.stack([b * c - f * f, a * c - e * e, a * b - d * d, e * f - d * c, d * f - e * b, d * e - a * f])
    out /= a * out[0] + d * out[3] + e * out[4]
    return out


def _times(matrix: npt.NDArray[Any], vector: Plane) -> npt.NDArray[Any]:
    """n symmetric matrices (6, n) by n vectors (3, n): (3, n)."""
    a, b, c, d, e, f = matrix
    x, y, z = vector
    return np.stack([a * x + d * y + e * z, d * x + b * y + f * z, e * x + f * y + c * z])


def _drawn(lines: Plane, colours: Plane) -> Plane:
    size = (colours.shape[1], colours.shape[0])
    large = [np.asarray(cv2.resize(line, size, interpolation=cv2.INTER_LINEAR), np.float32) for line in lines[:4]]
    out = large[0] * colours[..., 0] + large[1] * colours[..., 1] + large[2] * colours[..., 2] + large[3]
    return np.asarray(np.clip(out, 0.0, 1.0), np.float32)


def _all_of(mask: Mask, size: tuple[int, int]) -> Mask:
    """Whether a cell is (all but a 250th of it) true."""
    return np.asarray(_reduced(mask.view(np.uint8) * np.uint8(255), size) >= 254)


def _reduced(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))
