"""How far a matte is from the truth: IoU, MAE, SAD, MSE, and the gradient and connectivity errors.

Grad and Conn are those of Rhemann, Rother, Wang, Gelautz, Kohli, Rott, A Perceptually Motivated Online Benchmark for
Image Matting, CVPR 2009, in the form in which the field computes them (the evaluation code that Xu et al., Deep Image
Matting, CVPR 2017, gave out): Grad with the first derivatives of a Gaussian of sigma 1.4, Conn with steps of 0.1, a
tolerance of 0.15, 4-connected regions and without the distance weight. One thing differs: that code stretches an alpha
to its own minimum and maximum before Grad. Here it is taken as it is, so that an empty matte has a Grad, too.

Shapes and types throughout: alpha and truth float32 (H, W) in 0..1 (uint8 counts as value / 255); `counted` is
bool (H, W), the pixels that count, or None for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.photo import Alpha

Counted = npt.NDArray[np.bool_] | None

LEVEL: Final = 0.5
"""From this alpha on a pixel is in, for IoU."""

_SIGMA = 1.4  # px
_STEP = 10  # thresholds of Conn: 0.1, 0.2 .. 1.0
_TOLERANCE = 0.15  # Conn: how far alpha may lie over the level up to which its pixel is connected
_ROUNDING = 1e-6  # 51/255 in float32 must reach the threshold 0.2
_THOUSAND = 1000.0


@dataclass(frozen=True, slots=True)
class Scores:
    """One matte against its truth. None where there is nothing to measure: no pixel counts, or the truth is hard.

    iou: of the pixels at or above 0.5, 0..1; 1 when both are empty. mae, mse: mean over the pixels that count, 0..1.
    sad, grad, conn: sums over them, in thousands. grad and conn want a truth with soft edges.
    """

    iou: float | None
    mae: float | None
    mse: float | None
    sad: float | None
    grad: float | None = None
    conn: float | None = None


METRICS: Final = ("iou", "mae", "mse", "sad", "grad", "conn")
"""Names of the fields of `Scores`. Of iou more is better, of the others less."""


def matte_scores(
    alpha: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    counted: Counted = None,
    *,
    band: Counted = None,
    soft_truth: bool = True,
) -> tuple[Scores, Scores]:
    """The scores over the whole photograph, and those within the unknown band.

    band: bool (H, W), True where alpha is to be found; None = the second scores are all None.
    soft_truth: the truth is an alpha and not a mask; else grad and conn are None: the edge of a mask has no gradient
    that a matte should have. Raises ValueError when the sizes differ.
    """
    found, true = _as_alpha(alpha), _as_alpha(truth)
    if found.shape != true.shape:
        raise ValueError(f"alpha {found.shape} and truth {true.shape} are not of one size")
    difference = np.abs(found - true)
    maps = (_gradient_map(found, true), _connectivity_map(found, true)) if soft_truth else None
    whole = _scores(found, true, difference, maps, counted)
    if band is None:
        return whole, Scores(None, None, None, None)
    return whole, _scores(found, true, difference, maps, band if counted is None else band & counted)


def iou(alpha: npt.NDArray[Any], truth: npt.NDArray[Any], counted: Counted = None) -> float:
    """Intersection over union of the pixels at or above 0.5; 1 when neither has any. 0..1."""
    return _iou(_as_alpha(alpha), _as_alpha(truth), counted)


def sad(alpha: npt.NDArray[Any], truth: npt.NDArray[Any], counted: Counted = None) -> float:
    """Sum of absolute differences, in thousands."""
    return _sum(np.abs(_as_alpha(alpha) - _as_alpha(truth)), counted) / _THOUSAND


def mae(alpha: npt.NDArray[Any], truth: npt.NDArray[Any], counted: Counted = None) -> float:
    """Mean absolute difference, 0..1; NaN when no pixel counts."""
    return _mean(np.abs(_as_alpha(alpha) - _as_alpha(truth)), counted)


def mse(alpha: npt.NDArray[Any], truth: npt.NDArray[Any], counted: Counted = None) -> float:
    """Mean squared difference, 0..1; NaN when no pixel counts."""
    return _mean(np.square(_as_alpha(alpha) - _as_alpha(truth)), counted)


def gradient_error(alpha: npt.NDArray[Any], truth: npt.NDArray[Any], counted: Counted = None) -> float:
    """Sum of squared differences of the gradients' lengths, in thousands: steps and blur where there is none."""
    return _sum(_gradient_map(_as_alpha(alpha), _as_alpha(truth)), counted) / _THOUSAND


def connectivity_error(alpha: npt.NDArray[Any], truth: npt.NDArray[Any], counted: Counted = None) -> float:
    """Sum of the differences in how connected each pixel is to the subject's body, in thousands: islands and holes."""
    return _sum(_connectivity_map(_as_alpha(alpha), _as_alpha(truth)), counted) / _THOUSAND


def _scores(
    alpha: Alpha, truth: Alpha, difference: Alpha, maps: tuple[Alpha, Alpha] | None, counted: Counted
) -> Scores:
    if counted is not None and not counted.any():
        return Scores(None, None, None, None)
    grad, conn = (_sum(one, counted) / _THOUSAND for one in maps) if maps is not None else (None, None)
    return Scores(
        iou=_iou(alpha, truth, counted),
        mae=_mean(difference, counted),
        mse=_mean(np.square(difference), counted),
        sad=_sum(difference, counted) / _THOUSAND,
        grad=grad,
        conn=conn,
    )


def _as_alpha(values: npt.NDArray[Any]) -> Alpha:
    if values.ndim != 2:
        raise ValueError(f"an alpha has two dimensions, this has {values.ndim}")
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255.0)
    return np.ascontiguousarray(values, np.float32)


def _sum(values: Alpha, counted: Counted) -> float:
    chosen = values if counted is None else values[counted]
    return float(chosen.sum(dtype=np.float64))


def _mean(values: Alpha, counted: Counted) -> float:
    pixels = values.size if counted is None else int(np.count_nonzero(counted))
    return _sum(values, counted) / pixels if pixels else math.nan


def _iou(alpha: Alpha, truth: Alpha, counted: Counted) -> float:
    found, true = alpha >= LEVEL, truth >= LEVEL
    either, both = found | true, found & true
    if counted is not None:
        either &= counted
        both &= counted
    union = int(np.count_nonzero(either))
    return int(np.count_nonzero(both)) / union if union else 1.0


def _gradient_map(alpha: Alpha, truth: Alpha) -> Alpha:
    return np.asarray(np.square(_gradient_length(alpha) - _gradient_length(truth)), np.float32)


def _gradient_length(alpha: Alpha) -> Alpha:
    """Length of the gradient at scale sigma; the kernels have an L2 norm of 1, the frame is continued outwards."""
    smooth, slope = _gradient_kernels()
    across = cv2.sepFilter2D(alpha, cv2.CV_32F, slope, smooth, borderType=cv2.BORDER_REPLICATE)
    down = cv2.sepFilter2D(alpha, cv2.CV_32F, smooth, slope, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _gradient_kernels() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A Gaussian and its derivative over 9 pixels: as far as the Gaussian is over 0.01."""
    half = math.ceil(_SIGMA * math.sqrt(-2.0 * math.log(math.sqrt(2.0 * math.pi) * _SIGMA * 1e-2)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2.0 * _SIGMA**2))
    slope = -x * smooth
    # The norm of a separable kernel is the product of the norms of its parts.
    return smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)


def _connectivity_map(alpha: Alpha, truth: Alpha) -> Alpha:
    """|phi(alpha) - phi(truth)| for each pixel, 0..1.

    level: the highest threshold up to which the pixel belongs to the largest 4-connected region in which alpha and
    truth both reach the threshold (all lower ones included). phi = 1 - d where d = value - level is at least 0.15,
    else 1. Of regions of the same size the one that comes first from the top counts.
    """
    both = np.minimum(alpha, truth)  # reaches a threshold where alpha and truth do
    level = np.ones(alpha.shape, np.float32)
    connected = np.ones(alpha.shape, np.bool_)
    for step in range(1, _STEP + 1):
        inside = connected & _largest_region(both >= np.float32(step / _STEP - _ROUNDING))
        level[connected & ~inside] = (step - 1) / _STEP
        connected = inside
        if not connected.any():
            break
    return np.asarray(np.abs(_apart(alpha, level) - _apart(truth, level)), np.float32)


def _apart(values: Alpha, level: Alpha) -> Alpha:
    distance = values - level
    distance[distance < _TOLERANCE] = 0.0
    return distance


def _largest_region(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if count <= 1:
        return np.zeros(mask.shape, np.bool_)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), np.bool_)
