"""Goods with a hard edge: boxes, bottles, vases, shoes, toys, with handles, holes and thin parts; and clothes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, metal_colour, pale_colour
from mattemill.pipeline.training.foregrounds.shapes import blob, polygon, shaded, superellipse, turned_body
from mattemill.pipeline.training.foregrounds.strokes import canvas, filled, light_direction, reduced, tube
from mattemill.pipeline.training.layer import Layer, from_premultiplied, over, painted
from mattemill.pipeline.training.textures import texture

Floats = npt.NDArray[np.floating[Any]]


def make(rng: np.random.Generator, size: int) -> Layer:
    """One to five parts of different shapes and surfaces, put together; side `size`."""
    out = np.zeros((size, size, 4), np.float32)
    centre = rng.uniform(0.42, 0.58, 2) * size
    reach = size * rng.uniform(0.2, 0.36)
    white = rng.random() < 0.2
    if rng.random() < 0.4:
        out = over(_handles(rng, size, centre, reach), out)
    for part in range(int(rng.choice([1, 1, 2, 3, 5]))):
        at = centre + rng.normal(0, 0.35, 2) * reach * (part > 0)
        radius = reach * (1.0 if part == 0 else rng.uniform(0.2, 0.7))
        outlines = [_outline(rng, (float(at[0]), float(at[1])), float(radius))]
        if rng.random() < 0.25:  # A hole through it, which is background.
            hole = at + rng.normal(0, 0.15, 2) * radius
            outlines.append(_outline(rng, (float(hole[0]), float(hole[1])), float(radius * rng.uniform(0.1, 0.4))))
        coverage = filled(size, outlines)
        colours = _surface(rng, size, white)
        out = over(painted(shaded(rng, colours, coverage, rng.choice([0.15, 0.5, 1.0])), coverage), out)
    return from_premultiplied(out)


def furniture(rng: np.random.Generator, size: int) -> Layer:
    """Thin parts and gaps: chairs, racks, wheels with spokes, tripods, baskets, cables."""
    target = canvas(size)
    light = light_direction(rng)
    colour = metal_colour(rng) if rng.random() < 0.5 else any_colour(rng)
    width = size * rng.choice([0.003, 0.006, 0.012, 0.025]) * rng.uniform(0.7, 1.3)
    kind = int(rng.integers(4))
    low, high = 0.15 * size, 0.85 * size
    if kind == 0:  # Frame: legs, bars.
        for _ in range(int(rng.integers(3, 7))):
            x = rng.uniform(low, high)
            tube(
                target,
                _line([x, low + rng.uniform(0, 0.3) * size], [x + rng.normal(0, 0.06) * size, high]),
                width,
                colour,
                light,
            )
        for _ in range(int(rng.integers(2, 9))):
            y = rng.uniform(low, high)
            tube(target, _line([low, y], [high, y + rng.normal(0, 0.03) * size]), width * 0.8, colour, light)
    elif kind == 1:  # Wheels.
        for _ in range(int(rng.integers(1, 4))):
            middle, radius = rng.uniform(0.3, 0.7, 2) * size, size * rng.uniform(0.12, 0.3)
            ring = _arc(middle, radius, radius * rng.uniform(0.3, 1.0), 0, 2 * np.pi, rng.uniform(0, np.pi))
            for spoke in ring[:: max(1, len(ring) // int(rng.integers(6, 40)))]:
                tube(target, _line(middle, spoke), max(0.4, width * 0.25), colour, light)
            tube(target, ring, width * 1.5, colour * rng.uniform(0.3, 1.0), light)
    elif kind == 2:  # Cables, straps, cords.
        for _ in range(int(rng.integers(2, 9))):
            steps = np.cumsum(rng.normal(0, 0.12, 90)) * 0.35
            path = np.cumsum(np.stack([np.cos(steps), np.sin(steps)], 1), 0) * size * rng.uniform(0.006, 0.014)
            path = path - path.mean(0) + rng.uniform(0.35, 0.65, 2) * size
            tube(target, np.asarray(path, np.float32), width * rng.uniform(0.6, 1.5), any_colour(rng), light)
    else:  # Basket, cage.
        rows, columns = int(rng.integers(3, 12)), int(rng.integers(4, 20))
        middle, tall, wide = rng.uniform(0.45, 0.55, 2) * size, size * rng.uniform(0.2, 0.35), size * 0.3
        squash, taper = rng.uniform(0.1, 0.35), rng.uniform(-0.3, 0.3)
        for row in np.linspace(-1, 1, rows):
            at = middle + np.asarray([0, row * tall])
            round_ = wide * (1 + taper * row)
            tube(target, _arc(at, round_, round_ * squash, 0, 2 * np.pi, 0), width * 0.7, colour, light)
        for angle in np.linspace(0, 2 * np.pi, columns, endpoint=False):
            ends = [
                middle
                + np.asarray([np.cos(angle) * wide * (1 + taper * row), row * tall + np.sin(angle) * wide * squash])
                for row in (-1, 1)
            ]
            tube(target, _line(*ends), width * 0.6, colour, light)
    out = reduced(target)
    if rng.random() < 0.6:
        at = rng.uniform(0.3, 0.7, 2) * size
        coverage = filled(size, [_outline(rng, (float(at[0]), float(at[1])), size * rng.uniform(0.1, 0.25))])
        body = painted(shaded(rng, texture(rng, size), coverage), coverage)
        out = over(out, body) if rng.random() < 0.5 else over(body, out)
    return from_premultiplied(out)


def _surface(rng: np.random.Generator, size: int, white: bool) -> Floats:
    if white or rng.random() < 0.25:
        colour = pale_colour(rng) if white else any_colour(rng)
        return np.broadcast_to(colour, (size, size, 3)).astype(np.float32)
    return texture(rng, size)


def _outline(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> Floats:
    kind = int(rng.integers(4))
    if kind == 0:
        return blob(rng, centre, radius, 0.3)
    if kind == 1:
        return superellipse(rng, centre, radius)
    if kind == 2:
        return polygon(rng, centre, radius)
    return turned_body(rng, centre, radius * 2)


def _handles(rng: np.random.Generator, size: int, centre: Floats, reach: float) -> Floats:
    """Handles, rings and straps, to see through."""
    target = canvas(size)
    light = light_direction(rng)
    for _ in range(int(rng.integers(1, 3))):
        angle = rng.uniform(0, 2 * np.pi)
        at = centre + np.asarray([np.cos(angle), np.sin(angle)]) * reach * rng.uniform(0.7, 1.0)
        ring = _arc(at, reach * rng.uniform(0.2, 0.7), reach * rng.uniform(0.2, 0.7), 0, 2 * np.pi, rng.uniform(0, 3))
        tube(target, ring, size * rng.uniform(0.006, 0.035), any_colour(rng), light, closed=True)
    return reduced(target)


def _line(start: npt.ArrayLike, end: npt.ArrayLike) -> Floats:
    return np.asarray([start, end], np.float32)


def _arc(centre: Floats, wide: float, tall: float, start: float, end: float, angle: float) -> Floats:
    turn = np.linspace(start, end, 120)
    x, y = np.cos(turn) * wide, np.sin(turn) * tall
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(np.stack([x * cos - y * sin, x * sin + y * cos], 1) + centre, np.float32)


def cloth(rng: np.random.Generator, size: int) -> Layer:
    """A garment or a toy of cloth: soft outline, folds, an edge that is a little out of focus."""
    coverage = filled(size, [blob(rng, (size * 0.5, size * 0.5), size * rng.uniform(0.25, 0.38), 0.45)])
    coverage = np.asarray(cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.4, 3.0)), np.float32)
    folds = np.zeros((size, size), np.float32)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    for _ in range(int(rng.integers(2, 7))):
        angle, count = rng.uniform(0, np.pi), rng.uniform(3, 12)
        bend = rng.uniform(0.02, 0.1) * np.sin(2 * np.pi * (rows * rng.uniform(0.5, 2) + columns + rng.random()))
        folds += np.sin(2 * np.pi * count * (columns * np.cos(angle) + rows * np.sin(angle) + bend)) / 4
    colours = texture(rng, size) * (0.85 + 0.25 * folds)[..., None]
    colours = shaded(rng, np.clip(colours, 0, 1).astype(np.float32), coverage)
    return from_premultiplied(painted(colours, coverage))
