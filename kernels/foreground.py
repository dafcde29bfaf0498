"""The subject's own colours where it mixes with the background: no fringe of the old background in a cut-out.

Germer, Uelwer, Conrad, Harmeling: Fast Multi-Level Foreground Estimation, ICPR 2020 (arXiv 2006.14970).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Planes = npt.NDArray[np.float32]

_REGULARIZATION = 1e-5  # the paper's epsilon_r: how much neighbours pull where alpha is flat
_GRADIENT_WEIGHT = 1.0  # the paper's omega: how much more they pull across an edge of alpha
_SMALL = 32  # px; levels up to this size get many sweeps
_SMALL_SWEEPS, _SWEEPS = 10, 2


def estimate_foreground(image: npt.NDArray[np.uint8], alpha: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Foreground colours F of image = alpha * F + (1 - alpha) * B, uint8 (H, W, 3).

    image: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1. F is the image itself where alpha is 1, and a smooth
    continuation of the subject's colours where alpha is 0, so that later scaling of a cut-out draws in no other
    colour. With no pixel at alpha > 0 the colours mean nothing.

    F and B are solved for together from coarse to fine, by Jacobi sweeps over all pixels at once where the paper goes
    through them one by one; at the finer levels only pixels that really mix are swept.
    """
    height, width = alpha.shape
    levels = max(1, math.ceil(math.log2(max(2, height, width))))
    alpha = np.clip(np.asarray(alpha, np.float32), 0.0, 1.0)
    image = np.ascontiguousarray(image)
    front, back = _means(image, alpha)
    for level in range(levels + 1):
        # The same halving in both directions, and the exact size at the end.
        share = 0.5 ** (levels - level)
        size = (max(1, math.ceil(width * share)), max(1, math.ceil(height * share)))
        if level == levels:
            pixels, mix = image, alpha
        else:
            pixels = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST), np.uint8)
            mix = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_NEAREST), np.float32)
        front = np.asarray(cv2.resize(front, size, interpolation=cv2.INTER_NEAREST), np.float32)
        back = np.asarray(cv2.resize(back, size, interpolation=cv2.INTER_NEAREST), np.float32)
        sweeps = _SMALL_SWEEPS if max(size) <= _SMALL else _SWEEPS
        _sweep(pixels, mix, front, back, sweeps)
    out = np.asarray(np.clip(front * np.float32(255.0) + np.float32(0.5), 0, 255), np.uint8)
    sure = alpha >= 1.0
    out[sure] = image[sure]
    return out


def _means(image: npt.NDArray[np.uint8], alpha: npt.NDArray[np.float32]) -> tuple[Planes, Planes]:
    """Mean colours (1, 1, 3) in 0..1 of the surely inside and the surely outside; grey where there is none."""
    means = []
    for mask in ((alpha > 0.9).view(np.uint8), (alpha < 0.1).view(np.uint8)):
        mean = cv2.mean(image, mask=mask)[:3] if cv2.countNonZero(mask) else (127.5, 127.5, 127.5)
        means.append((np.asarray(mean, np.float32) / np.float32(255.0)).reshape(1, 1, 3))
    return means[0], means[1]


def _sweep(
    image: npt.NDArray[np.uint8], alpha: npt.NDArray[np.float32], front: Planes, back: Planes, sweeps: int
) -> None:
    """Jacobi sweeps of the paper's equation 6 at one level; `front` and `back` change in place."""
    height, width = alpha.shape
    rows, columns = (
        np.nonzero((alpha > 0) & (alpha < 1)) if alpha.size > _SMALL**2 else np.indices(alpha.shape).reshape(2, -1)
    )
    if rows.size == 0:
        return
    at = rows * width + columns
    beside = (
        np.maximum(rows - 1, 0) * width + columns,
        np.minimum(rows + 1, height - 1) * width + columns,
        rows * width + np.maximum(columns - 1, 0),
        rows * width + np.minimum(columns + 1, width - 1),
    )
    flat = alpha.reshape(-1)
    a0 = flat[at]
    a1 = 1 - a0
    pulls = [_REGULARIZATION + _GRADIENT_WEIGHT * np.abs(a0 - flat[near]) for near in beside]
    pull = pulls[0] + pulls[1] + pulls[2] + pulls[3]
    a00, a01, a11 = a0 * a0 + pull, a0 * a1, a1 * a1 + pull
    scale = 1 / (a00 * a11 - a01 * a01)
    colour = image.reshape(-1, 3)[at].astype(np.float32) * np.float32(1 / 255)
    from_image_0, from_image_1 = a0[:, None] * colour, a1[:, None] * colour
    f, b = front.reshape(-1, 3), back.reshape(-1, 3)
    for _ in range(sweeps):
        b0, b1 = from_image_0.copy(), from_image_1.copy()
        for weight, near in zip(pulls, beside, strict=True):
            b0 += weight[:, None] * f[near]
            b1 += weight[:, None] * b[near]
        f[at] = np.clip((a11[:, None] * b0 - a01[:, None] * b1) * scale[:, None], 0, 1)
        b[at] = np.clip((a00[:, None] * b1 - a01[:, None] * b0) * scale[:, None], 0, 1)
