"""Guided filter: a mask whose edges follow those of the photograph.

He, Sun, Tang: Guided Image Filtering, TPAMI 2013 (equations 5, 6, 8 and, for a colour guide, 14 to 16).
He, Sun: Fast Guided Filter, arXiv 1505.00996, 2015 (the coefficients at a lower resolution).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


def guided_filter(
    guide: npt.NDArray[Any],
    target: npt.NDArray[np.float32],
    radius: float,
    eps: float,
    subsample: int = 1,
) -> npt.NDArray[np.float32]:
    """Filter `target` so that it is locally a linear function of `guide`.

    guide: uint8 or float32, (H, W) grey or (H, W, 3) colour; uint8 is taken as value / 255, float32 as 0..1.
    target: float32 (H, W). radius: pixels; windows are squares of 2 * radius + 1, cut off at the frame. eps: the
    variance of the guide (of values in 0..1) below which it counts as flat; larger is smoother.
    subsample: the coefficients are found at 1/subsample of the size, which costs 1/subsample^2 (radius / 4 loses
    little, He & Sun). Returns float32 (H, W); it can leave 0..1 a little, clip it where that matters.

    To filter a part of a photograph exactly, pass the part with 2 * radius more on each side and cut that off.
    """
    if subsample < 1:
        raise ValueError(f"subsample = {subsample}: must be at least 1")
    height, width = target.shape
    if guide.shape[:2] != (height, width):
        raise ValueError(f"guide {guide.shape} and target {target.shape} are not of one size")
    values = np.ascontiguousarray(target, np.float32)
    # Reduced first and then made float: a quarter of the work on bytes, a sixteenth on floats.
    size = (max(1, -(-width // subsample)), max(1, -(-height // subsample)))
    small, small_values = (guide, values) if subsample == 1 else (_reduce(guide, size), _reduce(values, size))
    planes = [small] if guide.ndim == 2 else [small[..., channel] for channel in range(guide.shape[2])]
    reach = max(0, round(radius / subsample))
    slopes, offset = _coefficients([_unit(plane) for plane in planes], small_values, reach, eps)
    size = (width, height)
    scale = np.float32(1 / 255) if guide.dtype == np.uint8 else np.float32(1)
    # `_unit` is undone at the small size, so that the guide is taken as it is at the full one.
    for slope in slopes:
        offset -= np.float32(0.5) * slope
    out = _enlarge(offset, size)
    # The guide's channels stay where they are and as they are: as planes of floats they were the most memory of a job.
    for slope, plane in zip(slopes, [guide] if guide.ndim == 2 else np.moveaxis(guide, 2, 0), strict=True):
        steep = _enlarge(slope * scale, size)
        steep *= plane
        out += steep
    return out


def _unit(guide: npt.NDArray[Any]) -> Plane:
    """As float32, contiguous, around 0: so the variance, a difference of squares, keeps its digits."""
    if guide.dtype != np.uint8:
        return np.asarray(guide, np.float32) - np.float32(0.5)
    out = np.multiply(guide, np.float32(1 / 255), dtype=np.float32)
    out -= np.float32(0.5)
    return np.asarray(out, np.float32)


def _reduce(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    small = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))
    return small.reshape(size[1], size[0], *plane.shape[2:])


def _enlarge(plane: Plane, size: tuple[int, int]) -> Plane:
    if plane.shape == size[::-1]:
        return plane
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _coefficients(guide: list[Plane], target: Plane, reach: int, eps: float) -> tuple[list[Plane], Plane]:
    """Mean slopes a (one a channel of the guide) and mean offset b of every pixel: q = sum(a * guide) + b."""
    height, width = target.shape
    kernel = (2 * reach + 1, 2 * reach + 1)
    columns = _counts(width, reach)
    rows = _counts(height, reach)
    share: Plane = (1.0 / np.outer(rows, columns)).astype(np.float32)

    def mean(plane: Plane) -> Plane:
        total = cv2.boxFilter(plane, cv2.CV_32F, kernel, normalize=False, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(total, np.float32) * share

    mean_target: Plane = mean(target)
    means = [mean(plane) for plane in guide]
    covariances = [mean(plane * target) - mu * mean_target for plane, mu in zip(guide, means, strict=True)]
    if len(guide) == 1:
        variance = mean(guide[0] * guide[0]) - means[0] * means[0]
        slopes = [np.asarray(covariances[0] / (np.maximum(variance, 0) + np.float32(eps)), np.float32)]
    else:
        slopes = _solve_colour(guide, means, covariances, mean, eps)
    offset = mean_target
    for slope, mu in zip(slopes, means, strict=True):
        offset = np.asarray(offset - slope * mu, np.float32)
    return [mean(slope) for slope in slopes], mean(offset)


def _counts(length: int, reach: int) -> npt.NDArray[np.int64]:
    """How many of 2 * reach + 1 pixels around each of `length` lie inside."""
    at = np.arange(length)
    return np.minimum(at + reach, length - 1) - np.maximum(at - reach, 0) + 1


def _solve_colour(
    guide: list[Plane], means: list[Plane], covariances: list[Plane], mean: Any, eps: float
) -> list[Plane]:
    """(Sigma + eps U)^-1 cov for every pixel, through the adjugate of the symmetric 3x3 matrix."""
    r, g, b = guide
    mean_r, mean_g, mean_b = means
    weight = np.float32(eps)
    rr = np.maximum(mean(r * r) - mean_r * mean_r, 0) + weight
    gg = np.maximum(mean(g * g) - mean_g * mean_g, 0) + weight
    bb = np.maximum(mean(b * b) - mean_b * mean_b, 0) + weight
    rg = mean(r * g) - mean_r * mean_g
    rb = mean(r * b) - mean_r * mean_b
    gb = mean(g * b) - mean_g * mean_b
    i_rr = gg * bb - gb * gb
    i_rg = gb * rb - rg * bb
    i_rb = rg * gb - gg * rb
    i_gg = rr * bb - rb * rb
    i_gb = rb * rg - rr * gb
    i_bb = rr * gg - rg * rg
    scale = 1 / (i_rr * rr + i_rg * rg + i_rb * rb)
    c_r, c_g, c_b = (covariance * scale for covariance in covariances)
    return [
        i_rr * c_r + i_rg * c_g + i_rb * c_b,
        i_rg * c_r + i_gg * c_g + i_gb * c_b,
        i_rb * c_r + i_gb * c_g + i_bb * c_b,
    ]
