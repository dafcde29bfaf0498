"""Leaves, twigs, grass, flowers and feathers."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, fur_colour, near
from mattemill.pipeline.training.foregrounds.strokes import canvas, fixed, light_direction, reduced, strands, tube
from mattemill.pipeline.training.layer import Layer, from_premultiplied
from mattemill.pipeline.training.noise import fractal

Floats = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]


def branch(rng: np.random.Generator, size: int) -> Layer:
    """A plant: twigs that fork, with leaves, needles or petals."""
    target = canvas(size)
    light = light_direction(rng)
    bark = near(rng, np.asarray([0.35, 0.26, 0.18], np.float32), 0.08)
    green = _green(rng)
    leaf = _leaf(rng)
    extent = size * rng.uniform(0.025, 0.09)
    needles = rng.random() < 0.2
    start = np.asarray([rng.uniform(0.35, 0.65), 0.93]) * size
    trunk, stem = size * rng.uniform(0.18, 0.3), size * rng.uniform(0.006, 0.018)
    todo = [(start, -np.pi / 2 + rng.normal(0, 0.2), trunk, stem, 0)]
    spread, leafless = rng.uniform(0.3, 0.8), rng.random() < 0.12
    drawn = 0
    while todo and drawn < 90:
        at, heading, length, width, depth = todo.pop(0)
        drawn += 1
        turn = heading + np.cumsum(rng.normal(0, 0.07, 9))
        path = at + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), 0) * length / 9
        path = np.concatenate([at[None], path])
        tube(target, np.asarray(path, np.float32), max(0.5, width), bark, light)
        if depth < 4:
            for _ in range(int(rng.integers(2, 4))):
                place = path[int(rng.integers(4, 10))]
                todo.append(
                    (place, turn[-1] + rng.normal(0, spread), length * rng.uniform(0.55, 0.9), width * 0.6, depth + 1)
                )
        if depth > 0 and not leafless:
            for number in range(int(rng.integers(3, 9)) * (6 if needles else 1)):
                place = path[int(rng.integers(2, 10))]
                way = turn[-1] + (1 if number % 2 else -1) * rng.uniform(0.3, 1.2)
                if needles:
                    end = place + np.asarray([np.cos(way), np.sin(way)]) * extent * rng.uniform(0.7, 1.2)
                    shade = np.clip(near(rng, green, 0.06), 0, 1) * 255
                    line = fixed(np.asarray([place, end], np.float32))
                    cv2.polylines(target, [line], False, [*shade.tolist(), 255.0], int(rng.integers(2, 6)), 16, 4)
                else:
                    _draw_leaf(rng, target, leaf, place, way, extent * rng.uniform(0.6, 1.3), near(rng, green, 0.05))
    return _finish(rng, target, size)


def grasses(rng: np.random.Generator, size: int) -> Layer:
    """Blades, ears, reeds: tapering and bent, from the ground up."""
    count, steps, pieces = int(rng.integers(40, 400)), 16, 8
    green = _green(rng)
    roots = np.stack([rng.normal(0.5, 0.13, count), rng.uniform(0.8, 0.97, count)], 1) * size
    heading = -np.pi / 2 + rng.normal(0, 0.25, (count, 1)) + rng.normal(0, 0.06, (count, 1)) * np.arange(steps + 1)
    step = size * rng.uniform(0.25, 0.75, (count, 1)) / steps
    paths = np.stack([np.cumsum(np.cos(heading) * step, 1), np.cumsum(np.sin(heading) * step, 1)], 2) + roots[:, None]
    taper = np.sqrt(np.linspace(1, 0.02, pieces))
    widths = size * rng.uniform(0.002, 0.009) * rng.uniform(0.5, 1.4, (count, 1)) * taper
    tone = (1 + rng.normal(0, 0.2, (count, 1, 1))) * np.linspace(0.6, 1.15, pieces)[None, :, None]
    target = canvas(size)
    strands(target, *(np.asarray(part, np.float32) for part in (paths, widths, green * tone)))
    return _finish(rng, target, size)


def feather(rng: np.random.Generator, size: int) -> Layer:
    """One to a few feathers: a shaft with barbs that hold together, part, and turn to down at the foot."""
    target = canvas(size)
    light = light_direction(rng)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        length, wide = size * rng.uniform(0.45, 0.8), size * rng.uniform(0.06, 0.16)
        way = rng.uniform(0, 2 * np.pi)
        turn = way + rng.normal(0, 0.012) * np.arange(61)
        shaft = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), 0) * length / 60
        shaft = np.asarray(shaft - shaft.mean(0) + size / 2 + rng.normal(0, 0.06, 2) * size, np.float32)
        colour, other = (fur_colour(rng) if rng.random() < 0.7 else any_colour(rng) for _ in range(2))
        count, steps, pieces = int(rng.integers(400, 900)), 8, 4
        along = np.sort(rng.uniform(0.05, 1, count))
        side = np.where(rng.random(count) < 0.5, -1.0, 1.0)
        place = (along * 60).astype(int)
        hold = fractal(rng, 64, 8, 2)[(along * 63).astype(int), ((side + 1) * 30).astype(int)]  # Where barbs part.
        down = np.clip(1 - along * 5, 0, 1)
        angle = turn[place] + side * (0.55 + 0.5 * (1 - along)) + (hold - 0.5) * 0.5 * side
        angle = angle[:, None] - side[:, None] * 0.05 * np.arange(steps + 1)
        angle = angle + np.cumsum(rng.normal(0, 1, (count, steps + 1)) * (0.02 + 0.3 * down[:, None]), 1)
        reach = wide * np.sin(np.pi * np.clip(along * 0.85 + 0.15, 0, 1)) ** 0.6 * rng.uniform(0.85, 1.05, count)
        step = reach[:, None] / steps
        barbs = np.stack([np.cumsum(np.cos(angle) * step, 1), np.cumsum(np.sin(angle) * step, 1)], 2)
        barbs = barbs + shaft[place][:, None]
        bars = 0.5 + 0.5 * np.sin(along * rng.uniform(5, 60)) if rng.random() < 0.5 else np.zeros(count)
        shade = colour + (other - colour) * bars[:, None]
        shade = shade[:, None] * (1 + rng.normal(0, 0.06, (count, 1, 1))) * np.linspace(0.85, 1.1, pieces)[:, None]
        widths = np.full((count, pieces), length / count * rng.uniform(1.2, 2.4)) * np.linspace(1.2, 0.6, pieces)
        strands(target, *(np.asarray(part, np.float32) for part in (barbs, widths, shade)))
        tube(target, shaft, size * 0.005, near(rng, np.asarray([0.9, 0.87, 0.8], np.float32), 0.05), light)
    return _finish(rng, target, size)


def flower(rng: np.random.Generator, size: int) -> Layer:
    """Petals around a heart, on a stalk, with leaves."""
    target = canvas(size)
    light = light_direction(rng)
    for _ in range(int(rng.choice([1, 1, 2, 3, 5]))):
        middle = rng.uniform(0.3, 0.7, 2) * size * np.asarray([1, 0.8])
        green = _green(rng)
        foot = np.asarray([size * rng.uniform(0.4, 0.6), size * 0.95])
        share = np.linspace(0, 1, 20)[:, None]
        stalk = foot + (middle - foot) * share + np.sin(share * np.pi) * rng.normal(0, 0.05, 2) * size
        tube(target, np.asarray(stalk, np.float32), size * rng.uniform(0.004, 0.014), green, light)
        leaf = _leaf(rng)
        for _ in range(int(rng.integers(0, 5))):
            at = stalk[int(rng.integers(5, 20))]
            extent = size * rng.uniform(0.05, 0.15)
            _draw_leaf(rng, target, leaf, at, rng.uniform(-np.pi, 0), extent, near(rng, green, 0.05))
        colour, petal = any_colour(rng), _leaf(rng)
        reach, rings = size * rng.uniform(0.08, 0.24), int(rng.integers(1, 4))
        for ring in range(rings):
            count = int(rng.integers(5, 22))
            for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 1):
                extent = reach * (1 - 0.3 * ring) * rng.uniform(0.85, 1.1)
                _draw_leaf(rng, target, petal, middle, angle + rng.normal(0, 0.05), extent, near(rng, colour, 0.05))
        at = fixed(np.asarray([middle], np.float32))[0]
        heart = (any_colour(rng) * 255).tolist()
        cv2.circle(target, (int(at[0]), int(at[1])), int(reach * 0.25 * 48), [*heart, 255.0], -1, cv2.LINE_AA, 4)
    return _finish(rng, target, size)


def _finish(rng: np.random.Generator, target: Bytes, size: int) -> Layer:
    out = reduced(target)
    out[..., :3] *= (0.75 + 0.45 * fractal(rng, size, 4, 5))[..., None]
    return from_premultiplied(np.asarray(out, np.float32))


def _green(rng: np.random.Generator) -> Floats:
    if rng.random() < 0.2:
        return near(rng, np.asarray([0.6, 0.4, 0.15], np.float32), 0.12)
    green = np.asarray([rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.65), rng.uniform(0.05, 0.3)], np.float32)
    return near(rng, green, 0.04)


def _leaf(rng: np.random.Generator) -> Floats:
    """A leaf's outline along x from 0 to 1, (p, 2): smooth, toothed or lobed."""
    along = np.linspace(0, 1, 30)
    half = np.sin(np.pi * along ** rng.uniform(0.6, 1.5)) ** rng.uniform(0.7, 1.6) * rng.uniform(0.1, 0.42)
    kind = int(rng.integers(3))
    if kind == 1:
        half = half * (1 - 0.25 * (np.arange(30) % 2))
    elif kind == 2:
        half = half * (0.65 + 0.35 * np.abs(np.cos(along * np.pi * rng.integers(2, 5))))
    upper, lower = np.stack([along, half], 1), np.stack([along[::-1], -half[::-1]], 1)
    return np.asarray(np.concatenate([upper, lower]), np.float32)


def _draw_leaf(
    rng: np.random.Generator, target: Bytes, leaf: Floats, at: Floats, way: float, extent: float, colour: Floats
) -> None:
    """A leaf in two halves of different light, with a rib; seen from a random side."""
    cos, sin = np.cos(way), np.sin(way)
    turn = np.asarray([[cos, sin], [-sin, cos]]) * extent
    seen = leaf * [1, rng.uniform(0.35, 1)] + np.stack([np.zeros(len(leaf)), leaf[:, 0] ** 2], 1) * rng.normal(0, 0.12)
    outline = np.asarray(seen @ turn + at, np.float32)
    half = len(leaf) // 2
    for part, light in ((outline, 0.85), (outline[:half], 1.1)):
        shade = np.clip(colour * light * rng.uniform(0.85, 1.1), 0, 1) * 255
        cv2.fillPoly(target, [fixed(part)], [*shade.tolist(), 255.0], cv2.LINE_AA, 4)
    rib = np.asarray(np.stack([outline[0], outline[half - 1]]), np.float32)
    shade = np.clip(colour * 1.35, 0, 1) * 255
    cv2.polylines(target, [fixed(rib)], False, [*shade.tolist(), 255.0], max(1, int(extent / 20)), cv2.LINE_AA, 4)
