"""Coats: bodies with short dense strands all over, combed one way, and whiskers; also plush, wool and moss."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, fur_colour, near
from mattemill.pipeline.training.foregrounds.hair import thinned
from mattemill.pipeline.training.foregrounds.shapes import blob, shaded
from mattemill.pipeline.training.foregrounds.strokes import canvas, filled, reduced, strands
from mattemill.pipeline.training.layer import Layer, from_premultiplied, over, painted
from mattemill.pipeline.training.noise import fractal, smooth
from mattemill.pipeline.training.textures import texture

Floats = npt.NDArray[np.floating[Any]]

_STEPS, _PIECES = 6, 3


def make(rng: np.random.Generator, size: int) -> Layer:
    """A furry body; side `size`."""
    coverage = _body(rng, size)
    colours = shaded(rng, _coat(rng, size), coverage, gloss=0.1)
    base = painted(np.asarray(colours * 0.75, np.float32), coverage)
    length = size * rng.choice([rng.uniform(0.012, 0.03), rng.uniform(0.03, 0.075)])
    layer = over(_strands(rng, size, coverage, colours, length), base)
    if rng.random() < 0.5:
        layer = over(_whiskers(rng, size, coverage), layer)
    return from_premultiplied(layer)


def _body(rng: np.random.Generator, size: int) -> Floats:
    middle = rng.uniform(0.4, 0.6, 2) * size
    radius = size * rng.uniform(0.17, 0.27)
    outlines = [blob(rng, (float(middle[0]), float(middle[1])), radius, 0.2)]
    out = filled(size, outlines)
    for _ in range(int(rng.integers(0, 5))):  # Head, ears, limbs.
        angle, part = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.25, 0.7)
        at = middle + np.asarray([np.cos(angle), np.sin(angle)]) * radius * rng.uniform(0.8, 1.2)
        out = np.maximum(out, filled(size, [blob(rng, (float(at[0]), float(at[1])), part, 0.25)]))
    return np.asarray(out, np.float32)


def _coat(rng: np.random.Generator, size: int) -> Floats:
    """Plain, patched, spotted or tabby; now and then any texture at all (plush, cushions, carpets)."""
    if rng.random() < 0.2:
        return texture(rng, size)
    first = fur_colour(rng) if rng.random() < 0.8 else any_colour(rng)
    second = fur_colour(rng) if rng.random() < 0.5 else near(rng, first, 0.12)
    field = fractal(rng, size, int(rng.integers(2, 14)), 3, 0.4, aspect=rng.choice([1.0, 1.0, 3.0]))
    sharp = rng.uniform(1, 9)
    share = np.clip((field - rng.uniform(0.35, 0.65)) * sharp + 0.5, 0, 1)
    return np.asarray(first + (second - first) * share[..., None], np.float32)


def _strands(rng: np.random.Generator, size: int, coverage: Floats, colours: Floats, length: float) -> Floats:
    count = int(np.clip(7.0 * coverage.sum() / length, 3000, 11000))
    rows, columns = np.nonzero(coverage > 0.5)
    edge = cv2.distanceTransform((coverage > 0.5).astype(np.uint8), cv2.DIST_L2, 3)[rows, columns]
    weight = 0.12 + np.exp(-edge / (1.5 * length))  # The border is what is looked at: three quarters go there.
    chosen = rng.choice(len(rows), count, p=weight / weight.sum())
    # From the inside out, so that strands of the border lie under those before them only where a coat does so.
    chosen = chosen[np.argsort(rows[chosen] + rng.normal(0, 40, count))]
    roots = np.stack([columns[chosen], rows[chosen]], 1) + rng.uniform(0, 1, (count, 2))
    outside = cv2.GaussianBlur(coverage, (0, 0), length)
    across = cv2.Sobel(outside, cv2.CV_32F, 1, 0, ksize=5)[rows[chosen], columns[chosen]]
    down = cv2.Sobel(outside, cv2.CV_32F, 0, 1, ksize=5)[rows[chosen], columns[chosen]]
    norm = np.maximum(np.hypot(across, down), 1e-6)
    combed = rng.uniform(0, 2 * np.pi) + 0.9 * smooth(rng, size, 4)[rows[chosen], columns[chosen]]
    strength = rng.uniform(0.2, 1.3)
    x = -across / norm + strength * np.cos(combed)
    y = -down / norm + strength * np.sin(combed)
    heading = np.arctan2(y, x) + rng.normal(0, rng.uniform(0.1, 0.4), count)
    bend = rng.normal(rng.normal(0, 0.08), 0.1, (count, 1)) * np.arange(_STEPS + 1)
    clump = 0.5 * smooth(rng, size, int(size / length))[rows[chosen], columns[chosen]]
    angle = heading[:, None] + bend + clump[:, None]
    step = (length * rng.uniform(0.5, 1.3, count) / _STEPS)[:, None]
    paths = np.stack([np.cumsum(np.cos(angle) * step, 1), np.cumsum(np.sin(angle) * step, 1)], 2) + roots[:, None]
    tone = 1 + rng.normal(0, 0.16, (count, 1)) + 0.2 * clump[:, None]
    ramp = np.linspace(0.75, 1.15, _PIECES)
    own = colours[rows[chosen], columns[chosen]]
    shade = own[:, None] * (tone * ramp)[..., None] + rng.uniform(0, 0.08)
    taper = np.asarray([1.1, 0.8, 0.4], np.float32)
    widths = np.asarray(rng.uniform(0.6, 1.6) * rng.uniform(0.6, 1.3, (count, 1)) * taper, np.float32)
    target = canvas(size)
    strands(target, np.asarray(paths, np.float32), widths, np.asarray(shade, np.float32))
    return thinned(reduced(target), np.exp(rng.uniform(np.log(0.45), 0)))


def _whiskers(rng: np.random.Generator, size: int, coverage: Floats) -> Floats:
    """A fan or two of long, thin, bent hairs, light more often than dark."""
    rows, columns = np.nonzero((coverage > 0.5) & (cv2.erode(coverage, np.ones((31, 31))) < 0.5))
    target = canvas(size)
    steps, pieces = 16, 4
    for _ in range(int(rng.integers(1, 3))):
        if not len(rows):
            break
        at = int(rng.integers(len(rows)))
        count = int(rng.integers(5, 14))
        middle = np.asarray([columns[at], rows[at]], np.float32)
        outward = middle - np.asarray([columns.mean(), rows.mean()])
        heading = np.arctan2(outward[1], outward[0]) + rng.normal(0, 0.45, (count, 1))
        heading = heading + rng.normal(0, 0.035, (count, 1)) * np.arange(steps + 1)
        step = size * rng.uniform(0.08, 0.3, (count, 1)) / steps
        paths = np.stack([np.cumsum(np.cos(heading) * step, 1), np.cumsum(np.sin(heading) * step, 1)], 2)
        paths = paths + middle + rng.normal(0, size * 0.015, (count, 1, 2))
        tone = rng.uniform(0.75, 1) if rng.random() < 0.8 else rng.uniform(0.05, 0.3)
        shade = np.full((count, pieces, 3), tone) * rng.uniform(0.85, 1.1, (count, 1, 1))
        taper = np.linspace(1.2, 0.35, pieces)
        widths = rng.uniform(0.6, 1.7) * taper * rng.uniform(0.8, 1.2, (count, 1))
        strands(target, *(np.asarray(part, np.float32) for part in (paths, widths, shade)))
    return reduced(target)
