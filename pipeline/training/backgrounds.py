"""What lies behind: studio sweeps, photographs, procedural surfaces, clutter, mostly out of focus."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, pale_colour
from mattemill.pipeline.training.layer import to_bytes
from mattemill.pipeline.training.noise import fractal, smooth
from mattemill.pipeline.training.photographs import photograph_texture
from mattemill.pipeline.training.textures import clutter, recoloured, texture

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def scenery(rng: np.random.Generator, size: int) -> Bytes:
    """A background for the bank, sharp: uint8 (size, size, 3). Samples take pieces of it, out of focus or not."""
    choice = rng.random()
    if choice < 0.5:
        piece = photograph_texture(rng, size)
        if piece is not None:
            return to_bytes(recoloured(rng, piece) if rng.random() < 0.5 else piece)
    if choice < 0.65:
        return to_bytes(clutter(rng, size))
    if choice < 0.8:
        return to_bytes(_room(rng, size))
    return to_bytes(texture(rng, size, 0.2))


def studio(rng: np.random.Generator, size: int) -> Bytes:
    """A paper sweep as catalogues have it: white, grey, seldom coloured; a gradient, a horizon, a vignette."""
    kind = rng.random()
    if kind < 0.35:
        colour = np.full(3, rng.uniform(0.93, 1.0), np.float32)
    elif kind < 0.65:
        colour = pale_colour(rng) * rng.uniform(0.45, 1)
    elif kind < 0.75:
        colour = np.full(3, rng.uniform(0.0, 0.15), np.float32)
    else:
        colour = any_colour(rng)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    way, strength = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.15))
    light = 1 + strength * (columns * np.cos(way) + rows * np.sin(way))
    if rng.random() < 0.5:
        middle = rng.uniform(-0.8, 0.8, 2)
        light = light - rng.uniform(0, 0.3) * ((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2)
    if rng.random() < 0.25:
        edge = np.clip((rows - rng.uniform(-0.4, 0.4)) * np.exp(rng.uniform(1, 6)) + 0.5, 0, 1)
        light = light * (1 - rng.uniform(0, 0.25) * edge)
    if rng.random() < 0.3:
        light = light + 0.02 * smooth(rng, size, 4)
    return to_bytes(np.asarray(colour * light[..., None], np.float32))


def _room(rng: np.random.Generator, size: int) -> Floats:
    """Walls and a floor of different surfaces, with things standing about."""
    out = texture(rng, size, 0.2)
    for _ in range(int(rng.integers(2, 9))):
        other = texture(rng, size // 2, 0.3)
        wide, tall = (rng.uniform(0.08, 0.6, 2) * size).astype(int)
        left, top = (rng.uniform(-0.1, 0.95, 2) * size).astype(int)
        left, top = max(0, int(left)), max(0, int(top))
        right, bottom = min(size, left + int(wide)), min(size, top + int(tall))
        if right - left < 4 or bottom - top < 4:
            continue
        out[top:bottom, left:right] = cv2.resize(other, (right - left, bottom - top)) * rng.uniform(0.6, 1.1)
    return np.asarray(np.clip(out * (0.7 + 0.5 * fractal(rng, size, 2, 3)[..., None]), 0, 1), np.float32)
