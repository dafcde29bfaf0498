"""Trimaps and priors: what a person, a segmentation, or a bad segmentation would have said of a known alpha."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN, trimap
from mattemill.pipeline.training.noise import smooth

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

_LOW, _HIGH = 2, 253  # of 255: what is less, or more, counts as nothing, or as all


def drawn_trimap(rng: np.random.Generator, alpha: Bytes) -> Bytes:
    """As a person draws it: all that is soft, and a margin, tight or wide, even or rough, on both sides or one.

    alpha: uint8 (S, S). Returns uint8 (S, S) of 0, 128, 255; what is known in it agrees with alpha.
    """
    inside = (alpha >= 128).astype(np.uint8)
    contour = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    unsure = ((alpha > _LOW) & (alpha < _HIGH)) | (contour > 0)
    distance = cv2.distanceTransform((~unsure).astype(np.uint8), cv2.DIST_L2, 3)
    size = alpha.shape[0]
    radius: float | Floats = np.exp(rng.uniform(0, np.log(20)))
    if rng.random() < 0.5:
        rough = smooth(rng, size, int(rng.integers(3, 20)))
        radius = np.asarray(radius * np.clip(1 + rng.uniform(0.1, 0.6) * rough, 0.1, 2.5), np.float32)
    if rng.random() < 0.3:
        within, without = rng.uniform(0.3, 1.5, 2)
        radius = np.asarray(radius * np.where(inside > 0, within, without), np.float32)
    unknown = unsure | (distance <= radius)
    if rng.random() < 0.75:  # Nobody draws around specks: what is known within the band and small becomes unknown.
        unknown = _closed(unknown, np.exp(rng.uniform(np.log(1.5), np.log(14))))
    out = np.where(inside > 0, np.uint8(FOREGROUND), np.uint8(BACKGROUND))
    out[unknown] = UNKNOWN
    return out


def without_mask(marks: Bytes) -> Bytes:
    """The prior of a trimap that came alone: what is known, and 128 where nothing is."""
    return marks.copy()


def network_mask(rng: np.random.Generator, alpha: Bytes, soft: bool = False) -> Bytes:
    """A soft mask as a segmentation network gives it, which saw the whole photograph at a few hundred pixels.

    Thin parts are lost or grow together, the edge wanders, bits are missing or too much, and it is as sharp as its
    resolution allows. soft: the subject is translucent, and the network may have taken it for opaque, or for nothing.
    Returns uint8 (S, S).
    """
    size = alpha.shape[0]
    mask = alpha.astype(np.float32) * np.float32(1 / 255)
    if soft:
        choice = rng.random()
        if choice < 0.4:
            mask = np.asarray(np.clip(mask * rng.uniform(3, 20), 0, 1), np.float32)
        elif choice < 0.6:
            mask = np.asarray(mask ** rng.uniform(0.4, 2.5), np.float32)
    reach = np.exp(rng.uniform(np.log(0.8), np.log(8)))
    blurred = cv2.GaussianBlur(mask, (0, 0), reach)
    level, width = rng.uniform(0.15, 0.85), rng.uniform(0.1, 1.0)
    if rng.random() < 0.75:
        mask = np.asarray(np.clip((blurred - level) / width + 0.5, 0, 1), np.float32)
    else:
        mask = np.asarray(blurred, np.float32)
    mask = _bitten(rng, mask, size)
    amount = min(6.0, rng.exponential(1.5))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    cells = int(rng.integers(3, 14))
    mask = np.asarray(
        cv2.remap(
            mask,
            columns + amount * smooth(rng, size, cells),
            rows + amount * smooth(rng, size, cells),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )
    cell = np.exp(rng.uniform(np.log(1.5), np.log(7.0)))
    coarse = max(12, round(size / cell))
    mask = np.asarray(cv2.resize(mask, (coarse, coarse), interpolation=cv2.INTER_AREA), np.float32)
    if rng.random() < 0.5:  # Trained networks press towards 0 and 1.
        mask = np.clip((mask - 0.5) * rng.uniform(1, 3) + 0.5, 0, 1)
    way = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
    mask = np.clip(cv2.resize(np.asarray(mask, np.float32), (size, size), interpolation=way), 0, 1)
    if rng.random() < 0.3:
        mask = mask ** np.exp(rng.normal(0, 0.4))
    if rng.random() < 0.25:
        mask = _doubtful(rng, np.asarray(mask, np.float32), size)
    return np.asarray(mask * 255 + 0.5, np.uint8)


def wrong_mask(rng: np.random.Generator, alpha: Bytes, soft: bool = False) -> Bytes:
    """The same of a segmentation that is wrong: pieces of the background in it, pieces of the subject not in it."""
    mask = network_mask(rng, alpha, soft).astype(np.float32) / np.float32(255)
    size = alpha.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        middle, reach = rng.uniform(0, size, 2), size * rng.uniform(0.1, 0.45)
        way = rng.uniform(0, np.pi)
        x, y = columns - middle[0], rows - middle[1]
        along, across = x * np.cos(way) + y * np.sin(way), -x * np.sin(way) + y * np.cos(way)
        if rng.random() < 0.3:
            distance = reach - np.maximum(np.abs(along), np.abs(across) * rng.uniform(1, 3))
        else:
            distance = reach - np.hypot(along, across * rng.uniform(1, 3))
        distance = distance + rng.uniform(0, 12) * smooth(rng, size, int(rng.integers(3, 10)))
        piece = np.clip(distance / np.exp(rng.uniform(0, np.log(8))) + 0.5, 0, 1)
        value = 1.0 if rng.random() < 0.7 else rng.uniform(0.5, 1.0)  # Sure of it, or not.
        if alpha[int(middle[1]), int(middle[0])] < 128:
            mask = np.asarray(np.maximum(mask, value * piece), np.float32)
        else:
            mask = np.asarray(mask * (1 - value * piece), np.float32)
    return np.asarray(mask * 255 + 0.5, np.uint8)


def mask_trimap(rng: np.random.Generator, prior: Bytes) -> Bytes:
    """The trimap that the pipeline makes of a mask, for photographs of many sizes: uint8 (S, S) of 0, 128, 255."""
    radius = np.exp(rng.uniform(np.log(3), np.log(16)))
    return trimap(prior.astype(np.float32) * np.float32(1 / 255), float(radius))


def _closed(unknown: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    """Morphological closing by a disc, through two distance transforms."""
    wide = cv2.distanceTransform((~unknown).astype(np.uint8), cv2.DIST_L2, 3) <= radius
    if wide.all():
        return unknown
    return np.asarray((cv2.distanceTransform(wide.astype(np.uint8), cv2.DIST_L2, 3) > radius) | unknown)


def _bitten(rng: np.random.Generator, mask: Floats, size: int) -> Floats:
    """Bits missing or too much, near the border, where the smooth noise is high."""
    if rng.random() < 0.5:
        return mask
    near = cv2.GaussianBlur(mask, (0, 0), rng.uniform(3, 12))
    near = np.clip(4 * near * (1 - near) * 1.5, 0, 1)
    bits = (smooth(rng, size, int(rng.integers(4, 24))) - rng.uniform(0.5, 1.5)) * rng.uniform(1, 4)
    bits = np.clip(bits, 0, 1) * near
    if rng.random() < 0.5:
        return np.asarray(np.maximum(mask, bits), np.float32)
    return np.asarray(mask * (1 - bits), np.float32)


def _doubtful(rng: np.random.Generator, mask: Floats, size: int) -> Floats:
    """Grey where the network did not know: inside, or outside."""
    where = np.clip((smooth(rng, size, int(rng.integers(2, 6))) - rng.uniform(0, 1.2)) * rng.uniform(1, 5), 0, 1)
    if rng.random() < 0.6:
        return np.asarray(mask * (1 - rng.uniform(0.1, 0.6) * where), np.float32)
    return np.asarray(mask + (1 - mask) * rng.uniform(0.05, 0.45) * where, np.float32)
