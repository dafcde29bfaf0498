"""The losses of the matting network, as the field defines them.

Xu et al., Deep Image Matting, CVPR 2017 (alpha and composition); Hou, Liu, Context-Aware Image Matting, ICCV 2019
(Laplacian pyramid); Dai et al., Learning Affinity-Aware Upsampling for Deep Image Matting, CVPR 2021 (gradient).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 4  # of the Laplacian pyramid
_OUTSIDE = 0.05  # weight of what lies beyond 0..1, where clipping will forgive it; keeps a gradient there


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of one batch's loss, each a scalar, as means over the unknown pixels; `total` is their weighted sum."""

    alpha: Tensor
    composition: Tensor
    laplacian: Tensor
    gradient: Tensor

    @property
    def total(self) -> Tensor:
        """Weights so that each part is of one size on an untrained network."""
        return self.alpha + 0.5 * self.composition + 0.5 * self.laplacian + 0.5 * self.gradient


def matting_losses(predicted: Tensor, alpha: Tensor, unknown: Tensor, front: Tensor, back: Tensor) -> Losses:
    """All losses of a batch.

    predicted: float32 (N, 1, H, W), unclipped. alpha: the truth, (N, 1, H, W) in 0..1. unknown: (N, 1, H, W), 1 where
    the trimap leaves alpha open, else 0. front, back: (N, 3, H, W) in 0..1, the true colours. Composition is compared
    with the exact composite, not with the photograph, to which a camera has done more.
    """
    clipped = predicted.clamp(0, 1)
    soft = clipped + _OUTSIDE * (predicted - clipped)
    # As it will be used: what the trimap knows is taken from it.
    merged = torch.where(unknown > 0.5, soft, alpha)
    count = unknown.sum() + 1.0
    return Losses(
        alpha=_charbonnier(merged - alpha, unknown).sum() / count,
        composition=((merged - alpha).abs() * (front - back).abs()).sum() / (3 * count),
        laplacian=_laplacian(merged, alpha) * (alpha.numel() / count),
        gradient=_gradient(merged, alpha) * (alpha.numel() / count),
    )


def _charbonnier(difference: Tensor, weight: Tensor) -> Tensor:
    return torch.sqrt(difference * difference + 1e-6) * weight


def _laplacian(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the levels of two pyramids, coarser ones weighing more (by their cells' area)."""
    total = a.new_zeros(())
    difference = a - b  # the pyramid is linear, so one of the difference will do
    for level in range(_LEVELS):
        smaller = functional.avg_pool2d(difference, 2)
        larger = functional.interpolate(smaller, scale_factor=2.0, mode="bilinear", align_corners=False)
        total = total + (2**level) * (difference - larger).abs().mean()
        difference = smaller
    return total / 2


def _gradient(a: Tensor, b: Tensor) -> Tensor:
    difference = a - b
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + down
