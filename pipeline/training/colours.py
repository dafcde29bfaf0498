"""Random colours that things have."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

_HAIR = ((0.06, 0.04, 0.03), (0.17, 0.10, 0.06), (0.36, 0.22, 0.12), (0.72, 0.54, 0.31), (0.86, 0.76, 0.58))
_HAIR_RARE = ((0.55, 0.21, 0.08), (0.62, 0.62, 0.62), (0.93, 0.92, 0.90), (0.02, 0.02, 0.025), (0.75, 0.2, 0.45))
_FUR = ((0.95, 0.93, 0.90), (0.12, 0.10, 0.09), (0.55, 0.38, 0.22), (0.80, 0.55, 0.30), (0.50, 0.48, 0.46))
_SKIN = ((0.94, 0.78, 0.69), (0.80, 0.60, 0.46), (0.55, 0.37, 0.26), (0.33, 0.21, 0.15))
_METAL = ((0.83, 0.69, 0.38), (0.78, 0.78, 0.80), (0.85, 0.62, 0.50), (0.35, 0.35, 0.37), (0.62, 0.55, 0.45))


def any_colour(rng: np.random.Generator) -> Floats:
    """Any colour; greys and dull ones more often than loud ones: float32 (3,) in 0..1."""
    saturation = rng.beta(1.2, 2.2) if rng.random() < 0.8 else rng.uniform(0.6, 1)
    value = rng.beta(1.4, 1.1)
    return np.asarray(colorsys.hsv_to_rgb(rng.random(), saturation, value), np.float32)


def pale_colour(rng: np.random.Generator) -> Floats:
    """White, off-white or a pale tint."""
    return np.asarray(colorsys.hsv_to_rgb(rng.random(), rng.beta(1, 8), rng.uniform(0.82, 1)), np.float32)


def hair_colour(rng: np.random.Generator) -> Floats:
    """A colour of human hair."""
    return _near(rng, _HAIR if rng.random() < 0.75 else _HAIR_RARE)


def fur_colour(rng: np.random.Generator) -> Floats:
    """A colour of an animal's coat."""
    return _near(rng, _FUR)


def skin_colour(rng: np.random.Generator) -> Floats:
    """A colour of human skin."""
    return _near(rng, _SKIN)


def metal_colour(rng: np.random.Generator) -> Floats:
    """Gold, silver, copper, iron, brass."""
    return _near(rng, _METAL)


def near(rng: np.random.Generator, colour: Floats, amount: float) -> Floats:
    """The colour with every channel, and all of them together, moved by about `amount`."""
    return np.asarray(np.clip(colour + rng.normal(0, amount) + rng.normal(0, amount * 0.4, 3), 0, 1), np.float32)


def _near(rng: np.random.Generator, known: tuple[tuple[float, float, float], ...]) -> Floats:
    first, second = (np.asarray(known[int(rng.integers(len(known)))], np.float32) for _ in range(2))
    share = rng.uniform(0, 0.35)
    return near(rng, np.asarray(first * (1 - share) + second * share, np.float32), 0.03)
