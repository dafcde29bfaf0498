"""Procedural surfaces: what subjects and backgrounds are made of, float32 (size, size, 3) in 0..1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, near
from mattemill.pipeline.training.noise import fractal, warped
from mattemill.pipeline.training.photographs import photograph_texture

Floats = npt.NDArray[np.floating[Any]]


def texture(rng: np.random.Generator, size: int, photographs: float = 0.35) -> Floats:
    """A random surface; with the given chance a piece of a photograph, where there are any."""
    if rng.random() < photographs:
        piece = photograph_texture(rng, size)
        if piece is not None:
            return recoloured(rng, piece)
    kinds = tuple(SURFACES.values())
    return kinds[int(rng.integers(len(kinds)))](rng, size)


def recoloured(rng: np.random.Generator, image: Floats) -> Floats:
    """Turned in hue, less or more saturated, lighter or darker; sometimes painted in two other colours."""
    grey = image.mean(2, keepdims=True)
    if rng.random() < 0.3:
        return _between(grey[..., 0], any_colour(rng), any_colour(rng))
    order = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)
    saturation, gain = rng.uniform(0.2, 1.4), rng.uniform(0.6, 1.3)
    return np.asarray(np.clip((grey + (image[..., order] - grey) * saturation) * gain, 0, 1), np.float32)


def plain(rng: np.random.Generator, size: int) -> Floats:
    """One colour with a slight unevenness: plastic, paint, skin."""
    colour = any_colour(rng)
    uneven = fractal(rng, size, 3, 3) - 0.5
    return np.asarray(np.clip(colour + 0.06 * uneven[..., None], 0, 1), np.float32)


def cloud(rng: np.random.Generator, size: int) -> Floats:
    """1/f noise between two or three colours: stone, plaster, foliage far away."""
    field = fractal(rng, size, int(rng.integers(2, 12)), 7, rng.uniform(0.45, 0.85))
    first = any_colour(rng)
    second = near(rng, first, 0.15) if rng.random() < 0.6 else any_colour(rng)
    out = _between(field, first, second)
    if rng.random() < 0.4:
        other = fractal(rng, size, 3, 4)
        out = np.asarray(out + (any_colour(rng) - out) * np.clip(other * 3 - 1.4, 0, 1)[..., None], np.float32)
    return out


def wood(rng: np.random.Generator, size: int) -> Floats:
    """Long grain, with or without boards."""
    rings = fractal(rng, size, int(rng.integers(6, 16)), 5, 0.6, aspect=rng.uniform(5, 12))
    grain = np.sin(rings * rng.uniform(15, 60)) * 0.5 + 0.5
    colour = np.asarray([rng.uniform(0.35, 0.8), rng.uniform(0.2, 0.55), rng.uniform(0.08, 0.35)], np.float32)
    out = _between(np.asarray(grain * 0.5 + rings * 0.5, np.float32), colour, np.asarray(colour * 0.55, np.float32))
    if rng.random() < 0.5:
        boards = int(rng.integers(3, 9))
        at = (np.arange(size) * boards // size).astype(int)
        shade = rng.uniform(0.75, 1.1, boards).astype(np.float32)[at]
        shade[np.flatnonzero(np.diff(at))] *= 0.4
        out = np.asarray(out * shade[:, None, None], np.float32)
    if rng.random() < 0.5:
        out = np.ascontiguousarray(out.transpose(1, 0, 2))
    return np.asarray(np.clip(out, 0, 1), np.float32)


def weave(rng: np.random.Generator, size: int) -> Floats:
    """Cloth: two sets of threads, over and under each other."""
    period = rng.uniform(3, 14)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    across, down = np.sin(columns * (np.pi / period)), np.sin(rows * (np.pi / period))
    over = (np.floor(columns / period) + np.floor(rows / period)) % 2
    height = np.where(over > 0, np.abs(across), np.abs(down))
    first = any_colour(rng)
    second = first if rng.random() < 0.6 else any_colour(rng)
    out = np.where(over[..., None] > 0, first, second) * (0.6 + 0.4 * height[..., None])
    out = out * (0.85 + 0.3 * fractal(rng, size, 6, 5)[..., None])
    return np.asarray(np.clip(warped(rng, out.astype(np.float32), rng.uniform(0, 6), 4), 0, 1), np.float32)


def stripes(rng: np.random.Generator, size: int) -> Floats:
    """Stripes or checks, straight or bent, sharp or soft."""
    angle, count = rng.uniform(0, np.pi), rng.uniform(4, 40)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    along = columns * np.cos(angle) + rows * np.sin(angle)
    wave = np.sin(2 * np.pi * count * along)
    if rng.random() < 0.4:
        wave = wave * np.sin(2 * np.pi * count * (rows * np.cos(angle) - columns * np.sin(angle)))
    field = np.clip(wave * rng.uniform(0.6, 8) * 0.5 + 0.5, 0, 1).astype(np.float32)
    bent = warped(rng, field, rng.uniform(0, 0.02) * size, int(rng.integers(3, 8)))
    return _between(np.asarray(bent, np.float32), any_colour(rng), any_colour(rng))


def spots(rng: np.random.Generator, size: int) -> Floats:
    """Many small discs of several colours over a ground: print, pebbles, bokeh."""
    ground = any_colour(rng)
    image = np.broadcast_to(ground * 255, (size, size, 3)).astype(np.uint8).copy()
    colours = [any_colour(rng) * 255 for _ in range(int(rng.integers(1, 6)))]
    largest = rng.uniform(0.01, 0.07) * size
    for _ in range(int(rng.integers(60, 500))):
        centre = (int(rng.integers(size * 16)), int(rng.integers(size * 16)))
        colour = colours[int(rng.integers(len(colours)))].tolist()
        cv2.circle(image, centre, int(16 * largest * rng.uniform(0.2, 1)), colour, -1, cv2.LINE_AA, 4)
    out = np.asarray(image, np.float32) / 255
    return np.asarray(out * (0.8 + 0.4 * fractal(rng, size, 5, 5)[..., None]), np.float32).clip(0, 1)


def clutter(rng: np.random.Generator, size: int) -> Floats:
    """Hard, crowded: lines and polygons of all sizes, as shelves, branches and rooms have."""
    image = np.asarray(cloud(rng, size) * 255, np.uint8)
    for number in range(int(rng.integers(20, 160))):
        colour = (any_colour(rng) * 255).tolist()
        extent = size * rng.uniform(0.02, 0.35) * (1 - 0.5 * number / 160)
        centre = rng.uniform(0, size, 2)
        if rng.random() < 0.5:
            corners = centre + rng.uniform(-extent, extent, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(image, [np.asarray(corners * 16, np.int32)], colour, cv2.LINE_AA, 4)
        else:
            ends = np.asarray((centre + rng.uniform(-2 * extent, 2 * extent, (2, 2))) * 16, np.int32)
            cv2.polylines(image, [ends], False, colour, int(rng.integers(1, 8)), cv2.LINE_AA, 4)
    out = np.asarray(image, np.float32) / 255
    return np.asarray(out * (0.7 + 0.6 * fractal(rng, size, 3, 3)[..., None]), np.float32).clip(0, 1)


def grass(rng: np.random.Generator, size: int) -> Floats:
    """Short strokes of one colour in one direction, light and dark: grass, carpet, straw, the inside of a coat."""
    base = any_colour(rng)
    image = np.broadcast_to(base * 150, (size, size, 3)).astype(np.uint8).copy()
    way, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9)
    length, count = size * rng.uniform(0.015, 0.08), int(rng.integers(1500, 4000))
    starts = rng.uniform(-0.05, 1.05, (count, 2)) * size
    angles = rng.normal(way, spread, count)
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * length * rng.uniform(0.4, 1.4, (count, 1))
    lines = np.asarray(np.stack([starts, starts + steps], 1) * 16, np.int32)
    shades = np.clip(base * (0.55 + 0.75 * rng.random((count, 1))) + rng.normal(0, 0.03, (count, 3)), 0, 1) * 255
    width = int(rng.integers(1, 4))
    for line, shade in zip(lines, shades.tolist(), strict=True):
        cv2.polylines(image, [line], False, shade, width, cv2.LINE_AA, 4)
    return np.asarray(image, np.float32) / np.float32(255)


def _between(field: Floats, first: Floats, second: Floats) -> Floats:
    return np.asarray(first + (second - first) * field[..., None], np.float32)


SURFACES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "plain": plain,
    "cloud": cloud,
    "wood": wood,
    "weave": weave,
    "stripes": stripes,
    "spots": spots,
    "clutter": clutter,
    "grass": grass,
}
