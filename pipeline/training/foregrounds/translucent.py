"""What light goes through: smoke, veils, glass, splashes of water."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, near, pale_colour
from mattemill.pipeline.training.foregrounds.shapes import blob, shaded, superellipse, turned_body
from mattemill.pipeline.training.foregrounds.strokes import canvas, filled, light_direction, reduced, tube
from mattemill.pipeline.training.layer import Layer, from_premultiplied, over, painted
from mattemill.pipeline.training.noise import fractal, smooth, warped
from mattemill.pipeline.training.textures import texture

Floats = npt.NDArray[np.floating[Any]]


def smoke(rng: np.random.Generator, size: int) -> Layer:
    """Smoke, steam, dust, flame: fractal noise, drawn out and folded over itself."""
    field = fractal(rng, size, int(rng.integers(3, 6)), 6, 0.55, aspect=rng.choice([1.0, 0.5, 2.0]))
    for _ in range(2):
        field = np.asarray(warped(rng, field, size * rng.uniform(0.02, 0.08), int(rng.integers(4, 9))), np.float32)
    if rng.random() < 0.4:  # Wisps: ridges of the noise.
        field = np.asarray(1 - np.abs(2 * field - 1) ** rng.uniform(0.4, 0.8), np.float32)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    fall = 1 - np.hypot(columns / rng.uniform(0.3, 0.5), rows / rng.uniform(0.3, 0.5))
    density = np.clip((field + np.clip(fall, -1, 0.4) - rng.uniform(0.3, 0.6)) * rng.uniform(1, 3), 0, 1)
    coverage = (density ** rng.uniform(0.8, 2)) * rng.uniform(0.4, 1.0)
    flame = rng.random() < 0.15
    base = np.asarray([1.0, 0.55, 0.15], np.float32) if flame else near(rng, pale_colour(rng), 0.15)
    shade = 0.75 + 0.3 * fractal(rng, size, 5, 5) + (0.4 * coverage if flame else 0)
    colours = np.clip(base * shade[..., None], 0, 1).astype(np.float32)
    out = painted(colours, coverage.astype(np.float32))
    if rng.random() < 0.5:
        out = over(out, _body(rng, size))
    return from_premultiplied(out)


def veil(rng: np.random.Generator, size: int) -> Layer:
    """Thin cloth: constant translucency, denser where it folds over itself and at the hem, over a body or alone."""
    outline = blob(rng, (size / 2, size / 2), size * rng.uniform(0.3, 0.42), 0.5)
    shape = filled(size, [outline])
    thin = rng.uniform(0.1, 0.5)
    clear = np.ones((size, size), np.float32)
    light = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 5))):  # One more layer of the cloth; transmission multiplies.
        fold = fractal(rng, size, 3, 2, aspect=rng.choice([0.3, 1.0, 3.0]))
        ridge = np.clip(1 - np.abs(fold - rng.uniform(0.35, 0.65)) * rng.uniform(10, 40), 0, 1)
        lap = np.clip((fold - rng.uniform(0.3, 0.6)) * rng.uniform(8, 60) + 0.5, 0, 1)
        clear *= 1 - thin * lap
        clear *= 1 - 0.5 * thin * ridge
        light += 0.25 * ridge - 0.1 * lap
    coverage = shape * (1 - clear * (1 - thin))
    hem = canvas(size)
    tube(hem, outline, size * rng.uniform(0.002, 0.008), np.ones(3, np.float32), light_direction(rng), closed=True)
    coverage = np.maximum(coverage, reduced(hem)[..., 3] * rng.uniform(0.4, 1))
    if rng.random() < 0.4:  # Threads.
        pitch = rng.uniform(2, 5)
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        weave = 0.75 + 0.25 * np.sin(columns * 2 * np.pi / pitch) * np.sin(rows * 2 * np.pi / pitch)
        coverage = coverage * warped(rng, weave, 4, 5)
    colour = pale_colour(rng) if rng.random() < 0.6 else any_colour(rng)
    ground = np.broadcast_to(colour, (size, size, 3)) if rng.random() < 0.7 else texture(rng, size)
    colours = np.clip(ground * (0.8 + light)[..., None], 0, 1).astype(np.float32)
    out = painted(colours, np.clip(coverage, 0, 1).astype(np.float32))
    if rng.random() < 0.5:
        out = over(out, _body(rng, size))
    return from_premultiplied(out)


def glass(rng: np.random.Generator, size: int) -> Layer:
    """Bottles, tumblers, lenses: nearly clear in the middle, dark and dense at the rims, with hard reflections.

    Coverage rises towards the rim as the path through the wall does, and with Schlick's (1994) approximation of
    Fresnel's reflection; highlights, caps, labels and a filling are denser.
    """
    height = size * rng.uniform(0.5, 0.85)
    make = turned_body if rng.random() < 0.75 else superellipse
    extent = height if make is turned_body else height * 0.5
    outline = make(rng, (size * rng.uniform(0.42, 0.58), size * 0.5), extent)
    shape = filled(size, [outline])
    distance = cv2.distanceTransform((shape > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    wide = max(6.0, float(distance.max()))
    slope = np.clip(1 - distance / (wide * rng.uniform(0.6, 1.0)), 0, 1)
    clear = rng.uniform(0.03, 0.35)
    rim = rng.uniform(0.4, 0.95)
    coverage = clear + (rim - clear) * slope ** rng.uniform(3, 7)
    wall = np.exp(-(((distance - wide * rng.uniform(0.04, 0.12)) / (wide * 0.03 + 1)) ** 2))
    coverage = coverage + rng.uniform(0, 0.5) * wall
    tint = any_colour(rng) if rng.random() < 0.4 else pale_colour(rng) * rng.uniform(0.5, 1)
    colours = tint * (1.05 - rng.uniform(0.3, 0.9) * slope**2 - 0.25 * wall)[..., None]
    for _ in range(int(rng.integers(1, 5))):  # Windows and lamps, mirrored along the wall.
        ring = np.exp(-(((distance / wide - rng.uniform(0.08, 0.7)) / rng.uniform(0.02, 0.07)) ** 2))
        patch = np.clip((smooth(rng, size, int(rng.integers(2, 5))) - rng.uniform(0.2, 1)) * rng.uniform(4, 20), 0, 1)
        shine = ring * patch * rng.uniform(0.5, 1.0)
        coverage = 1 - (1 - coverage) * (1 - shine)
        colours = colours + (1 - colours) * shine[..., None]
    rows = np.mgrid[0:size, 0:size][0].astype(np.float32)
    top, bottom = float(outline[:, 1].min()), float(outline[:, 1].max())
    if rng.random() < 0.5:  # A filling with a level.
        level = top + (bottom - top) * rng.uniform(0.25, 0.75)
        liquid = np.clip(rows - level, 0, 1) * np.clip((distance - wide * 0.08) / 2, 0, 1)
        dense = rng.uniform(0.3, 0.97)
        coverage = 1 - (1 - coverage) * (1 - dense * liquid)
        colours = colours + (any_colour(rng) * (1.1 - 0.4 * slope)[..., None] - colours) * (0.85 * liquid)[..., None]
    if rng.random() < 0.5:  # A cap, or a label.
        begin = top if rng.random() < 0.5 else top + (bottom - top) * rng.uniform(0.3, 0.6)
        band = np.clip(rows - begin, 0, 1) * np.clip(begin + (bottom - top) * rng.uniform(0.08, 0.3) - rows, 0, 1)
        opaque = shaded(rng, texture(rng, size), shape)
        coverage = np.maximum(coverage, band)
        colours = colours + (opaque - colours) * band[..., None]
    coverage = np.clip(coverage, 0, 1) * shape
    return from_premultiplied(painted(np.clip(colours, 0, 1).astype(np.float32), coverage.astype(np.float32)))


def splash(rng: np.random.Generator, size: int) -> Layer:
    """Water and other liquids in flight: sheets, strings and drops, dark at the rim, bright towards the light."""
    side = size // 3  # The field is smooth.
    field = np.zeros((side, side), np.float32)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    for _ in range(int(rng.integers(25, 90))):
        way = rng.uniform(0, 2 * np.pi)
        away = abs(rng.normal(0, 0.17)) * side
        at = side / 2 + np.asarray([np.cos(way), np.sin(way)]) * away
        radius = side * rng.uniform(0.008, 0.05) * (1.3 - away / side)
        long = rng.uniform(1, 3.5)
        x, y = columns - at[0], rows - at[1]
        along, across = x * np.cos(way) + y * np.sin(way), -x * np.sin(way) + y * np.cos(way)
        field += np.exp(-((along / (radius * long)) ** 2 + (across / radius) ** 2))
    field = np.asarray(cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
    field = np.asarray(warped(rng, field + 0.15 * fractal(rng, size, 6, 5), size * 0.015, 12), np.float32)
    edge = rng.uniform(0.45, 0.7)
    gradient = cv2.GaussianBlur(field, (0, 0), 1.0)
    across, down = (cv2.Sobel(gradient, cv2.CV_32F, x, y, ksize=3, scale=1 / 8) for x, y in ((1, 0), (0, 1)))
    steep = np.maximum(np.hypot(across, down), 0.004)
    shape = np.clip((field - edge) / steep + 0.5, 0, 1)
    depth = np.clip((field - edge) / 0.7, 0, 1)
    clear, rim = rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.95)
    coverage = clear + (rim - clear) * (1 - depth) ** 4
    light = light_direction(rng)
    facing = np.clip((across * light[0] + down * light[1]) / (np.hypot(across, down) + 0.01), -1, 1)
    shine = np.clip(facing * 3 - 2 + 0.6 * smooth(rng, size, 30), 0, 1)
    coverage = 1 - (1 - coverage) * (1 - 0.9 * shine)
    tint = any_colour(rng) if rng.random() < 0.35 else pale_colour(rng) * rng.uniform(0.6, 1)
    colours = tint * (0.55 + 0.5 * depth - 0.25 * np.clip(-facing, 0, 1))[..., None]
    colours = colours + (1 - colours) * shine[..., None]
    out = painted(np.clip(colours, 0, 1).astype(np.float32), (coverage * shape).astype(np.float32))
    return from_premultiplied(over(out, _body(rng, size)) if rng.random() < 0.3 else out)


def _body(rng: np.random.Generator, size: int) -> Floats:
    middle = rng.uniform(0.4, 0.6, 2) * size
    coverage = filled(size, [blob(rng, (float(middle[0]), float(middle[1])), size * rng.uniform(0.1, 0.25))])
    return painted(shaded(rng, texture(rng, size), coverage), coverage)
