"""Shadows: the photograph's own contact shadow taken along, a soft one drawn, and either laid under the subject.

A shadow is an opacity of black, float32 (H, W) in 0..1, in the terms in which `compose_over` mixes: black with
opacity s over a background B is (1 - s) B in sRGB values.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_SIDE = 768  # px of the long side at which shadows are found and drawn: they are soft
_FREE = 0.01  # alpha up to which a pixel is background alone
_LIGHT = 110  # grey level that a background has at least, for a shadow on it to be told from the ground itself
_UNEVEN = 0.06  # standard deviation, as a share of its brightness, up to which a background counts as plain
_NOISE = 0.015  # darkening up to which nothing is taken for a shadow: grain, folds, a falling-off light
_NEAR, _FAR = 0.25, 0.60  # of the subject's height and width in the mean: where the shadow begins to end, and has ended
_HIGH, _LOW = 0.35, 0.65  # of the way from the subject's top to its base: no shadow above the first, all below the last
_CONTACT, _SOFT = 0.50, 0.30  # opacity of a drawn shadow where the subject stands, and of the wide one around it


def kept_shadow(image: Bytes, alpha: Floats) -> Floats:
    """The contact shadow of a photograph on a light, plain ground; all 0 where the ground is neither.

    image: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1. Returns float32 (H, W) in 0..1.

    The ground's own brightness, as it would be without a shadow, is a cubic surface through the pixels of the
    background, fitted again and again without those that lie darker than it (a robust fit in one direction: shadows
    only darken). The opacity is 1 - photograph / surface where that is more than noise, joined to the subject, and not
    far from its base. Under the subject's soft edge it goes on as beside it.
    """
    height, width = alpha.shape
    size = _working_size(alpha.shape)
    mix = _area(np.ascontiguousarray(alpha, np.float32), size)
    grey = np.asarray(_area(np.ascontiguousarray(image), size), np.float32).reshape(*mix.shape, 3).mean(axis=2)
    box = cv2.boundingRect((mix > 0.5).view(np.uint8))
    free = cv2.dilate(mix, np.ones((3, 3), np.uint8)).reshape(mix.shape) < _FREE
    if not box[2] or np.count_nonzero(free) < 64:
        return np.zeros((height, width), np.float32)
    ground, noise = _ground(grey, free)
    if ground is None:
        return np.zeros((height, width), np.float32)
    dark = np.clip(1 - grey / ground, 0, 1)
    known = free.astype(np.float32)
    dark = _spread(dark * known, known)
    dark = np.asarray(cv2.GaussianBlur(dark, (0, 0), 1.0), np.float32)
    # What is under the noise goes, what is well over it stays as it is, and no line is seen between (garrote, Breiman).
    least = max(_NOISE, 2.5 * noise)
    dark = np.maximum(dark - least * least / np.maximum(dark, 1e-6), 0)
    dark *= _around_base(mix, box)
    dark[~_joined(dark > 0, mix > 0.5)] = 0
    dark *= _fading_frame(dark.shape)
    out = cv2.resize(dark, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.asarray(out, np.float32).reshape(height, width), 0, 1)


def drawn_shadow(alpha: npt.NDArray[Any]) -> Floats:
    """A soft shadow under the subject, as of a large lamp above it: dark where it stands, faint and wide around that.

    alpha: float32 (H, W) in 0..1. Returns float32 (H, W) in 0..1, 0 without a subject.

    The dark part follows the lowest pixels of each column, less the higher they are above the base: what does not touch
    the ground casts none there. The wide part lies on the base line, under what is not higher above it than about a
    sixth of the subject's height. What leaves the frame is lost: a subject at the lower frame wants a canvas.
    """
    height, width = alpha.shape
    mix = _area(np.ascontiguousarray(alpha, np.float32), _working_size(alpha.shape))
    solid = mix > 0.5
    _, top, across, down = cv2.boundingRect(solid.view(np.uint8))
    if not across:
        return np.zeros((height, width), np.float32)
    rows, columns = solid.shape
    base = top + down
    # Room below and beside the frame, so that blurring does not pile up at it.
    pad = math.ceil(0.3 * max(across, down)) + 4
    lowest = rows - 1 - np.argmax(solid[::-1], axis=0)
    stands = solid.any(axis=0)
    height_above = np.where(stands, base - 1 - lowest, np.inf) / max(1, down)
    beside = np.arange(columns) + pad
    contact, wide = (np.zeros((rows + 2 * pad, columns + 2 * pad), np.float32) for _ in range(2))
    thick = max(1, round(0.012 * down))
    for step in range(-thick, thick + 1):
        at = np.clip(lowest + step + pad, 0, contact.shape[0] - 1)
        np.maximum.at(contact, (at, beside), np.exp(-height_above / 0.06).astype(np.float32))
    contact = np.asarray(cv2.GaussianBlur(contact, (0, 0), max(0.8, 0.012 * across), sigmaY=max(0.8, 0.010 * down)))
    tall = max(1, round(0.025 * across + 0.01 * down))
    wide[max(0, base + pad - tall) : base + pad + tall, beside] = np.exp(-height_above / 0.15)
    wide = np.asarray(cv2.GaussianBlur(wide, (0, 0), max(1.0, 0.05 * across), sigmaY=max(1.0, 0.03 * across)))
    shade = 1 - (1 - _CONTACT * np.clip(contact * 1.6, 0, 1)) * (1 - _SOFT * np.clip(wide * 1.4, 0, 1))
    inside = np.ascontiguousarray(shade[pad : pad + rows, pad : pad + columns], np.float32)
    out = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out, np.float32).reshape(height, width)


def lay_under(front: Bytes, alpha: Floats, shadow: Floats) -> tuple[Bytes, Floats]:
    """(colours, alpha) of the subject over black of the shadow's opacity; not premultiplied.

    front: uint8 (H, W, 3). alpha, shadow: float32 (H, W) in 0..1. alpha + (1 - alpha) shadow, and the colours scaled by
    what of it is the subject's (Porter and Duff's 'over', 1984). Colours where both are 0 stay as they are.
    """
    joined = (1 - alpha) * shadow
    joined += alpha
    out = front.copy()
    rows = np.flatnonzero(((shadow > 0) & (alpha < 1)).reshape(-1))
    share = alpha.reshape(-1).take(rows) / np.maximum(joined.reshape(-1).take(rows), 1e-6)
    seen = out.reshape(-1, 3).take(rows, axis=0) * share[:, None] + np.float32(0.5)
    out.reshape(-1, 3)[rows] = seen.astype(np.uint8)
    return out, joined


def _working_size(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _area(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA)).reshape(*size[::-1], *plane.shape[2:])


def _step(values: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _ground(grey: Floats, free: npt.NDArray[np.bool_]) -> tuple[Floats | None, float]:
    """(brightness of the ground without shadows, its noise as a share), or (None, 0) when it is dark or not plain."""
    rows, columns = grey.shape
    y, x = np.nonzero(free)
    every = max(1, len(y) // 20_000)
    y, x = y[::every], x[::every]
    values = grey[y, x].astype(np.float64)
    basis = _cubic(x / columns, y / rows)
    used = np.ones(len(values), bool)
    fit, spread = values, 1.0
    for _ in range(8):
        coefficients = np.linalg.lstsq(basis[used], values[used], rcond=None)[0]
        fit = basis @ coefficients
        rest = values - fit
        spread = max(0.5, 1.4826 * float(np.median(np.abs(rest[used] - np.median(rest[used])))))
        now = (rest > -1.5 * spread) & (rest < 3 * spread)
        if np.count_nonzero(now) < 0.2 * len(values) or np.array_equal(now, used):
            break
        used = now
    bright = float(np.median(fit))
    # Judged on all of the background, but shadows may cover a good part of it: the third quartile of what is off.
    off = np.abs(values - fit) / np.maximum(fit, 1)
    if bright < _LIGHT or spread / bright > _UNEVEN or float(np.quantile(off, 0.6)) > _UNEVEN:
        return None, 0.0
    yy, xx = np.mgrid[0:rows, 0:columns]
    surface = _cubic((xx / columns).ravel(), (yy / rows).ravel()) @ coefficients
    ground = np.clip(surface.reshape(rows, columns), 0.6 * bright, 255).astype(np.float32)
    return ground, spread / bright


def _cubic(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y = 2 * x - 1, 2 * y - 1
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3], axis=1)


def _spread(values: Floats, known: Floats) -> Floats:
    """The values where known, and around them the mean of the nearest known ones (normalised blurs, ever wider)."""
    out, have = values.copy(), known > 0
    for sigma in (1.5, 4.0, 12.0, 40.0):
        near = np.asarray(cv2.GaussianBlur(known, (0, 0), sigma), np.float32)
        sums = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
        new = ~have & (near > 0.02)
        out[new] = sums[new] / near[new]
        have |= new
    return np.asarray(out, np.float32)


def _around_base(mix: Floats, box: tuple[int, ...] | Any) -> Floats:
    """1 near the lower part of the subject, 0 far from it and beside its top; smooth."""
    _, top, across, down = box
    away = np.asarray(cv2.distanceTransform((mix <= 0.5).view(np.uint8), cv2.DIST_L2, 5), np.float32).reshape(mix.shape)
    size = math.sqrt(across * down)
    near = 1 - _step(away, _NEAR * size, _FAR * size)
    rows: Floats = ((np.arange(mix.shape[0]) - top) / down).astype(np.float32)[:, None]
    return np.asarray(near * _step(rows, _HIGH, _LOW), np.float32)


def _joined(shade: npt.NDArray[np.bool_], subject: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What of the shade hangs together with the subject."""
    _, labels = cv2.connectedComponents((shade | subject).view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    kept = np.unique(labels[subject])
    return np.asarray(np.isin(labels, kept[kept > 0]))


def _fading_frame(shape: tuple[int, ...]) -> Floats:
    """1 inside, down to 0 at the frame: a shadow that the frame cuts off has no edge where the page goes on."""
    rows, columns = shape
    edge = max(1.0, 0.02 * max(shape))
    down = np.minimum(np.arange(rows), np.arange(rows)[::-1]).astype(np.float32)[:, None]
    across = np.minimum(np.arange(columns), np.arange(columns)[::-1]).astype(np.float32)[None, :]
    return _step(np.minimum(down, across), 0.0, edge)
