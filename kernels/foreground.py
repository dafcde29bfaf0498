"""The subject's own colours where it mixes with the background: no fringe of the old background in a cut-out.

Germer, Uelwer, Conrad, Harmeling: Fast Multi-Level Foreground Estimation, ICPR 2020 (arXiv 2006.14970).
Forte: Approximate Fast Foreground Colour Estimation, ICIP 2021 (its equation 4 finishes what is solved smaller here).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_REGULARIZATION = 1e-5  # the paper's epsilon_r: how much neighbours pull where alpha is flat
_GRADIENT_WEIGHT = 1.0  # the paper's omega: how much more they pull across an edge of alpha
_SMALL = 32  # px; levels up to this size are swept whole, and often
_SMALL_SWEEPS, _SWEEPS = 10, 6
_STRIP = 1 << 20  # pixels of the full size that are finished at a time
_WINDOW = 7  # px of the full size over which colours are averaged at last
_SOLVED_PIXELS = 400_000  # about how many pixels the finest solved level has; the closed form does the rest


def estimate_foreground(image: Bytes, alpha: Floats) -> Bytes:
    """Foreground colours F of image = alpha * F + (1 - alpha) * B, uint8 (H, W, 3).

    image: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1. F is the image itself where alpha is 1, and a smooth
    continuation of the subject's colours where alpha is 0, so that scaling a cut-out later draws in no other colour.

    F and B are solved for together, from coarse to fine, as Germer et al. do. Their sweep goes through the pixels one
    by one; here the even and the odd squares of a chessboard take turns, which converges alike and is done in whole
    arrays, and beyond the coarsest levels only the pixels that really mix are swept. A large photograph is solved
    at about 0.4 MP, and the full size follows from Forte's closed form, F + alpha (I - alpha F - (1 - alpha) B), once
    around these colours and once more around their means in windows of 7 pixels. benchmarks/fringes.py, a first scene
    of hair at 2 MP, grey levels: solved at 0.15 MP and closed once 2.88, at 0.4 MP 1.95, closed twice 1.65.
    """
    height, width = alpha.shape
    alpha = np.clip(np.asarray(alpha, np.float32), 0.0, 1.0)
    image = np.ascontiguousarray(image)
    step = max(1, round(math.sqrt(height * width / _SOLVED_PIXELS)))
    front, back = _solve(*_halved(image, alpha, step))
    size = (width, height)
    out = np.asarray(cv2.resize(front, size, interpolation=cv2.INTER_LINEAR), np.uint8).reshape(height, width, 3)
    behind = np.asarray(cv2.resize(back, size, interpolation=cv2.INTER_LINEAR), np.uint8).reshape(height, width, 3)
    for strip in _strips(height, width):
        _close(image[strip], alpha[strip], out[strip], behind[strip])
    certain = (alpha >= 1).view(np.uint8)
    cv2.copyTo(image, certain, out)
    if step == 1:
        return out
    cv2.copyTo(image, (alpha <= 0).view(np.uint8), behind)
    final = out.copy()
    for strip in _strips(height, width):
        _sharpen(image, alpha, out, behind, strip, final)
    return final


def _strips(height: int, width: int) -> list[slice]:
    """Rows of about _STRIP pixels together: where much is mixed, the floats of a strip are 50 bytes a pixel."""
    rows = max(1, _STRIP // width)
    return [slice(top, min(height, top + rows)) for top in range(0, height, rows)]


def _close(image: Bytes, alpha: Floats, front: Bytes, back: Bytes) -> None:
    """Forte's closed form for F, and its twin for B, wherever alpha is between 0 and 1; both change in place."""
    flat = alpha.reshape(-1)
    mixed = np.flatnonzero((flat > 0) & (flat < 1))
    if not mixed.size:
        return
    weight = flat.take(mixed)[:, None]
    f = front.reshape(-1, 3).take(mixed, axis=0).astype(np.float32)
    b = back.reshape(-1, 3).take(mixed, axis=0).astype(np.float32)
    missing = image.reshape(-1, 3).take(mixed, axis=0) - weight * f - (1 - weight) * b
    front.reshape(-1, 3)[mixed] = _rounded(f + weight * missing)
    back.reshape(-1, 3)[mixed] = _rounded(b + (1 - weight) * missing)


def _sharpen(image: Bytes, alpha: Floats, front: Bytes, back: Bytes, strip: slice, final: Bytes) -> None:
    """The closed form once more, around the means of F and B in a small window at full size: what hair needs.

    The second pass of blur fusion (Forte and Pitie 2021), each pixel counted by how much of it is F, or B. Writes the
    mixed pixels of the strip into `final`.
    """
    rows, columns = np.nonzero((alpha[strip] > 0) & (alpha[strip] < 1))
    if not rows.size:
        return
    reach = _WINDOW // 2 + 1
    top, bottom = max(0, strip.start - reach), min(alpha.shape[0], strip.stop + reach)
    left, right = max(0, int(columns.min()) - reach), min(alpha.shape[1], int(columns.max()) + 1 + reach)
    part = (slice(top, bottom), slice(left, right))
    at = (rows + (strip.start - top)) * (right - left) + (columns - left)
    inside = np.ascontiguousarray(alpha[part])
    share = _mean(inside).reshape(-1).take(at)[:, None]
    f = _mean(np.multiply(front[part], inside[..., None], dtype=np.float32)).reshape(-1, 3).take(at, axis=0)
    f /= share + np.float32(1e-5)
    inside = 1 - inside
    b = _mean(np.multiply(back[part], inside[..., None], dtype=np.float32)).reshape(-1, 3).take(at, axis=0)
    b /= 1 - share + np.float32(1e-5)
    rows += strip.start
    weight = alpha[rows, columns][:, None]
    final[rows, columns] = _rounded(f + weight * (image[rows, columns] - weight * f - (1 - weight) * b))


def _mean(plane: Floats) -> Floats:
    return np.asarray(cv2.blur(plane, (_WINDOW, _WINDOW)), np.float32)


def _rounded(values: npt.NDArray[np.float32]) -> Bytes:
    return np.asarray(np.clip(values + np.float32(0.5), 0, 255), np.uint8)


def _halved(image: Bytes, alpha: Floats, step: int) -> tuple[Bytes, Floats]:
    """Both at 1/step of the size, rounded up; the mean of what each pixel covers."""
    if step == 1:
        return image, alpha
    size = (-(-alpha.shape[1] // step), -(-alpha.shape[0] // step))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mix = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(size[1], size[0], 3), np.asarray(mix, np.float32).reshape(size[::-1])


def _solve(image: Bytes, alpha: Floats) -> tuple[Bytes, Bytes]:
    """F and B, uint8 (h, w, 3) each, by the multi-level method."""
    pyramid = [(image, alpha)]
    while max(pyramid[-1][1].shape) > 1:
        pyramid.append(_halved(*pyramid[-1], 2))
    # F and B side by side, (h, w, 6) in 0..1: one access to memory serves both.
    colours = _means(image, alpha)
    for pixels, mix in reversed(pyramid):
        height, width = mix.shape
        resized = cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST)
        colours = np.asarray(resized, np.float32).reshape(height, width, 6)
        small = max(mix.shape) <= _SMALL
        rows, columns = np.nonzero(np.ones(mix.shape, bool) if small else (mix > 0) & (mix < 1))
        odd = ((rows + columns) & 1).astype(bool)
        halves = [_Half.of(pixels, mix, rows[half], columns[half]) for half in (~odd, odd)]
        for _ in range(_SMALL_SWEEPS if small else _SWEEPS):
            for half in halves:
                half.sweep(colours.reshape(-1, 6))
    whole = np.clip(colours * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(whole[..., :3]), np.ascontiguousarray(whole[..., 3:])


def _means(image: Bytes, alpha: Floats) -> Floats:
    """(1, 1, 6): mean colours in 0..1 of the surely inside and of the surely outside; grey where there is none."""
    means: list[float] = []
    for mask in ((alpha > 0.9).view(np.uint8), (alpha < 0.1).view(np.uint8)):
        means += cv2.mean(image, mask=mask)[:3] if cv2.countNonZero(mask) else (127.5, 127.5, 127.5)
    return np.asarray(means, np.float32).reshape(1, 1, 6) / np.float32(255)


@dataclass(frozen=True, slots=True)
class _Half:
    """The pixels of one colour of the chessboard at one level, with everything that the sweeps leave as it is.

    at: (n,) flat indices. beside: four of them, the neighbours (the pixel itself at the frame). pulls: (n, 1) weights
    of the neighbours. inverse: the three entries of the paper's inverted 2x2 matrix, (n, 1) each. given: (n, 6)
    its right side without the neighbours.
    """

    at: npt.NDArray[np.int64]
    beside: tuple[npt.NDArray[np.int64], ...]
    pulls: tuple[Floats, ...]
    inverse: tuple[Floats, Floats, Floats]
    given: Floats

    @staticmethod
    def of(image: Bytes, alpha: Floats, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> _Half:
        height, width = alpha.shape
        at = rows * width + columns
        beside = (
            np.where(rows > 0, at - width, at),
            np.where(rows < height - 1, at + width, at),
            np.where(columns > 0, at - 1, at),
            np.where(columns < width - 1, at + 1, at),
        )
        flat = alpha.reshape(-1)
        a0 = flat.take(at)
        a1 = 1 - a0
        pulls = [_REGULARIZATION + _GRADIENT_WEIGHT * np.abs(a0 - flat.take(near)) for near in beside]
        pull = pulls[0] + pulls[1] + pulls[2] + pulls[3]
        a00, a01, a11 = a0 * a0 + pull, a0 * a1, a1 * a1 + pull
        scale = 1 / (a00 * a11 - a01 * a01)
        colour = image.reshape(-1, 3).take(at, axis=0).astype(np.float32) * np.float32(1 / 255)
        given = np.concatenate([a0[:, None] * colour, a1[:, None] * colour], axis=1)
        inverse = ((a11 * scale)[:, None], (a01 * scale)[:, None], (a00 * scale)[:, None])
        return _Half(at, beside, tuple(weight[:, None] for weight in pulls), inverse, given)

    def sweep(self, colours: Floats) -> None:
        """One step of equation 6 of the paper for these pixels; `colours` (h * w, 6) changes in place."""
        total = self.given.copy()
        for near, weight in zip(self.beside, self.pulls, strict=True):
            total += weight * colours.take(near, axis=0)
        i11, i01, i00 = self.inverse
        f, b = total[:, :3], total[:, 3:]
        solved = np.concatenate([i11 * f - i01 * b, i00 * b - i01 * f], axis=1)
        colours[self.at] = np.clip(solved, 0, 1)
