"""Rounding weights so that the errors within a kernel cancel.

Rounded each for itself, the nine taps of a 3x3 kernel are off by a sum of errors that acts on whatever is the same over
these nine places, which is most of what a layer reads: activations are smooth. Some of the taps that were nearest to
the middle between two steps are rounded the other way, so that the sum is within half a step of the true one: the
kernel-wise part of Guo et al., SQuant: On-the-Fly Data-Free Quantization via Diagonal Hessian Approximation, ICLR 2022.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def rounded_by_kernel(weight: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Whole numbers (o, i, h, w), each next to that of `weight`, which is in steps, above or below.

    The sum of a kernel (h, w) is within 0.5 of its true one; nothing leaves the range of `weight` if that is whole.
    """
    exact = weight.astype(np.float64).reshape(*weight.shape[:2], -1)
    nearest = np.rint(exact)
    error = nearest - exact
    total = error.sum(axis=2)
    direction = np.sign(total)[..., None]
    # The tap that was rounded the furthest in the direction of the sum is the cheapest to round the other way.
    order = np.argsort(-error * direction, axis=2)
    rank = np.argsort(order, axis=2)
    turned = rank < np.rint(np.abs(total))[..., None]
    return np.asarray((nearest - turned * direction).reshape(weight.shape), np.float64)
