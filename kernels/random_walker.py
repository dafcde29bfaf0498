"""Random walker with priors: a soft mask that keeps to marks, follows colour edges, and else believes a prior.

Grady: Multilabel Random Walker Image Segmentation Using Prior Models, CVPR 2005 (equation 9, two labels); the edge
weights are those of Grady: Random Walks for Image Segmentation, TPAMI 2006.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND

Plane = npt.NDArray[np.float32]

_COARSEST = 48  # px of the shorter side; from a solution at half the size on, few iterations are left
_LEAST_WEIGHT = 1e-4  # of an edge, so that nothing is cut off from everything


def random_walker(
    features: npt.NDArray[Any],
    prior: npt.NDArray[Any],
    trust: npt.NDArray[Any],
    marks: npt.NDArray[np.uint8],
    beta: float = 1.0,
    tolerance: float = 1e-3,
    iterations: int = 200,
) -> npt.NDArray[np.float32]:
    """Minimise sum of w_ij (x_i - x_j)^2 over neighbours + sum of trust_i (x_i - prior_i)^2, x fixed where marked.

    features: float (h, w, c); w_ij = exp(-beta * |f_i - f_j|^2) over the four neighbours. prior: float (h, w) in 0..1.
    trust: float (h, w), at least 0; where it is 1 the prior weighs as much as one neighbour on flat ground. marks:
    uint8 (h, w), 0 = x is 0, 255 = x is 1, anything else = free. Solved by conjugate gradients (Jacobi), started from
    the solution at half the size; ends when the residual has fallen to `tolerance` of its start's scale or after
    `iterations`. Returns float32 (h, w) in 0..1.
    """
    shape = marks.shape
    values = np.asarray(features, np.float32)
    if values.ndim == 2:
        values = values[..., None]
    if not (values.shape[:2] == np.shape(prior) == np.shape(trust) == shape):
        raise ValueError(
            f"features {values.shape}, prior {np.shape(prior)}, trust {np.shape(trust)}, marks {shape}: not of one size"
        )
    return _solve(
        values, np.asarray(prior, np.float32), np.asarray(trust, np.float32), marks, beta, tolerance, iterations
    )


def _solve(
    features: Plane,
    prior: Plane,
    trust: Plane,
    marks: npt.NDArray[np.uint8],
    beta: float,
    tolerance: float,
    iterations: int,
) -> Plane:
    height, width = marks.shape
    if min(height, width) >= 2 * _COARSEST:
        size = (-(-width // 2), -(-height // 2))
        coarse = _solve(
            np.asarray(cv2.resize(features, size, interpolation=cv2.INTER_AREA), np.float32).reshape(
                size[1], size[0], -1
            ),
            np.asarray(cv2.resize(prior, size, interpolation=cv2.INTER_AREA), np.float32),
            # A pixel stands for four, whose trust adds up; the weights between pixels stay.
            np.asarray(cv2.resize(trust, size, interpolation=cv2.INTER_AREA), np.float32) * np.float32(4),
            np.asarray(cv2.resize(marks, size, interpolation=cv2.INTER_NEAREST), np.uint8),
            beta,
            tolerance,
            iterations,
        )
        x = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    else:
        x = prior.copy()
    fixed = (marks == BACKGROUND) | (marks == FOREGROUND)
    x[fixed] = (marks == FOREGROUND)[fixed]
    free = (~fixed).astype(np.float32)
    across = _weights(features[:, 1:] - features[:, :-1], beta)
    down = _weights(features[1:] - features[:-1], beta)
    diagonal = trust.copy()
    diagonal[:, 1:] += across
    diagonal[:, :-1] += across
    diagonal[1:] += down
    diagonal[:-1] += down

    def times(vector: Plane) -> Plane:
        out = diagonal * vector
        out[:, 1:] -= across * vector[:, :-1]
        out[:, :-1] -= across * vector[:, 1:]
        out[1:] -= down * vector[:-1]
        out[:-1] -= down * vector[1:]
        return out

    # Conjugate gradients on the free pixels: residual and directions are 0 at the fixed ones.
    inverse = free / np.maximum(diagonal, np.float32(1e-12))
    residual = (trust * prior - times(x)) * free
    scale = float(np.sqrt(free.sum())) * tolerance  # a residual of `tolerance` in every pixel, in units of its diagonal
    preconditioned = inverse * residual
    direction = preconditioned.copy()
    power = float(np.vdot(residual, preconditioned))
    for _ in range(iterations):
        if float(np.linalg.norm(preconditioned)) <= scale or power <= 0.0:
            break
        image = times(direction) * free
        length = np.float32(power / max(float(np.vdot(direction, image)), 1e-30))
        x += length * direction
        residual -= length * image
        preconditioned = inverse * residual
        before, power = power, float(np.vdot(residual, preconditioned))
        direction *= np.float32(power / before)
        direction += preconditioned
    return np.clip(x, 0.0, 1.0, out=x)


def _weights(difference: Plane, beta: float) -> Plane:
    squared = (difference * difference).sum(axis=-1)
    return np.asarray(np.exp(np.float32(-beta) * squared) + np.float32(_LEAST_WEIGHT), np.float32)
