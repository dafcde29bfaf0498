"""A foreground with its exact alpha: what is cut out and laid over backgrounds to make a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Layer:
    """Colour and coverage of a subject, side N.

    rgb: uint8 (N, N, 3), not premultiplied; where nothing covers, the nearest colours of the subject go on, so that a
    resampled or blurred layer has no dark fringe. alpha: uint8 (N, N), the coverage times 255.
    """

    rgb: Bytes
    alpha: Bytes


_FULL = 0.97
"""Coverage from which a subject counts as opaque: a mass of strands has no pinholes in the mattes that people make."""


def from_premultiplied(canvas: Floats) -> Layer:
    """The layer of a painted canvas: float32 (N, N, 4) in 0..1, colours times coverage, then coverage."""
    alpha = np.clip(canvas[..., 3], 0, 1)
    colours = extended(canvas[..., :3], alpha)
    return Layer(to_bytes(colours), to_bytes(np.asarray(alpha / _FULL, np.float32)))


def extended(premultiplied: Floats, alpha: Floats) -> Floats:
    """Colours without their coverage, continued to where there is none: float32 (N, N, 3).

    By normalised convolution over a pyramid (push and pull; Gortler et al., The Lumigraph, 1996).
    """
    levels = [np.dstack([premultiplied, alpha])]
    while min(levels[-1].shape[:2]) > 4:
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
    filled = levels[-1][..., :3] / np.maximum(levels[-1][..., 3:], 1e-4)
    for level in reversed(levels[:-1]):
        height, width = level.shape[:2]
        wide = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        weight = np.clip(level[..., 3:] * 8, 0, 1)
        filled = level[..., :3] / np.maximum(level[..., 3:], 1e-4) * weight + wide * (1 - weight)
    return np.asarray(np.clip(filled, 0, 1), np.float32)


def over(top: Floats, bottom: Floats) -> Floats:
    """Porter, Duff 1984: premultiplied (N, N, 4) over premultiplied (N, N, 4)."""
    return np.asarray(top + bottom * (1 - top[..., 3:]), np.float32)


def painted(colour: Floats, coverage: Floats) -> Floats:
    """Premultiplied (N, N, 4) of colours float32 (N, N, 3) or (3,), all in 0..1, and coverage (N, N)."""
    out = np.empty((*coverage.shape, 4), np.float32)
    out[..., :3] = colour * coverage[..., None]
    out[..., 3] = coverage
    return out


def to_bytes(values: Floats) -> Bytes:
    """0..1 to 0..255, rounded; what lies outside is clipped."""
    return np.asarray(np.clip(values * 255 + 0.5, 0, 255), np.uint8)
