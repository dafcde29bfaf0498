"""Regular things full of holes: lace and crochet, nets and fences, chains and strings of beads."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import any_colour, metal_colour, pale_colour
from mattemill.pipeline.training.foregrounds.shapes import blob, shaded, superellipse
from mattemill.pipeline.training.foregrounds.strokes import (
    ENLARGED,
    canvas,
    filled,
    fixed,
    light_direction,
    reduced,
    tube,
)
from mattemill.pipeline.training.layer import Layer, from_premultiplied, over, painted
from mattemill.pipeline.training.noise import fractal, smooth
from mattemill.pipeline.training.textures import texture

Floats = npt.NDArray[np.floating[Any]]


def lace(rng: np.random.Generator, size: int) -> Layer:
    """A motif of rings, bars and petals on a lattice, bent as cloth is, often along the hem of a solid body."""
    pitch = size * rng.uniform(0.025, 0.08)
    thread = pitch * rng.uniform(0.06, 0.2)
    target = np.zeros((size * ENLARGED, size * ENLARGED), np.uint8)
    motif = _motif(rng, pitch)
    count = int(size / pitch) + 2
    drift = [smooth(rng, size, 4) * pitch * rng.uniform(0.1, 0.8) for _ in range(2)]
    hexagonal = rng.random() < 0.5
    angle = rng.uniform(0, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    for row in range(-count // 2, count + count // 2):
        for column in range(-count // 2, count + count // 2):
            shift = 0.5 * (hexagonal and row % 2)
            at = np.asarray([(column + shift) * pitch, row * pitch * (0.87 if hexagonal else 1)]) - size / 2
            at = np.asarray([at[0] * cos - at[1] * sin, at[0] * sin + at[1] * cos]) + size / 2
            if not (-pitch < at[0] < size + pitch and -pitch < at[1] < size + pitch):
                continue
            x, y = (min(size - 1, max(0, int(v))) for v in at)
            moved = at + np.asarray([drift[0][y, x], drift[1][y, x]])
            for line, thick in motif:
                points = fixed(np.asarray(line + moved, np.float32))
                cv2.polylines(target, [points], False, 255.0, max(1, round(thread * thick * ENLARGED)), cv2.LINE_AA, 4)
    small = cv2.resize(target.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) / 255
    cover, inner = _piece(rng, size)
    coverage = np.maximum(small * cover, inner)
    colour = pale_colour(rng) if rng.random() < 0.55 else any_colour(rng)
    ground = np.broadcast_to(colour, (size, size, 3)) if rng.random() < 0.8 else texture(rng, size)
    relief = cv2.GaussianBlur(coverage.astype(np.float32), (0, 0), 1.0)
    lit = 0.72 + 0.28 * relief + 0.8 * cv2.Sobel(relief, cv2.CV_32F, 1, 1, ksize=3)
    lit = lit * (0.8 + 0.35 * fractal(rng, size, 4, 6))
    colours = np.clip(ground * lit[..., None], 0, 1).astype(np.float32)
    return from_premultiplied(painted(colours, np.asarray(coverage, np.float32)))


def _motif(rng: np.random.Generator, pitch: float) -> list[tuple[Floats, float]]:
    """Lines about the origin with relative thickness."""
    turn = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    out: list[tuple[Floats, float]] = []
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(4))
        if kind == 0:
            out.append((ring * pitch * rng.uniform(0.15, 0.52), rng.uniform(0.7, 1.8)))
        elif kind == 1:
            petals = int(rng.integers(3, 9))
            radius = pitch * rng.uniform(0.3, 0.6) * np.abs(np.cos(petals * np.linspace(0, np.pi, 73)))
            round_ = np.linspace(0, 2 * np.pi, 73)
            out.append((np.stack([np.cos(round_), np.sin(round_)], 1) * radius[:, None], rng.uniform(0.6, 1.2)))
        elif kind == 2:
            for angle in np.arange(0, np.pi, np.pi / int(rng.integers(2, 4))):
                way = np.asarray([np.cos(angle), np.sin(angle)]) * pitch * 0.55
                out.append((np.stack([-way, way]), rng.uniform(0.5, 1.3)))
        else:
            out.append((ring * pitch * rng.uniform(0.03, 0.1), rng.uniform(1.5, 3.5)))
    angle = rng.uniform(0, np.pi)  # What holds the motifs together.
    for way in (np.asarray([np.cos(angle), np.sin(angle)]), np.asarray([-np.sin(angle), np.cos(angle)])):
        out.append((np.stack([-way, way]) * pitch * 0.6, 0.6))
    return [(np.asarray(line, np.float32), float(thick)) for line, thick in out]


def _piece(rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Where the work is, and where it is so dense that nothing shows through (a body, a hem)."""
    radius = size * rng.uniform(0.3, 0.45)
    outline = blob(rng, (size / 2, size / 2), radius, 0.3)
    if rng.random() < 0.6:  # Scallops.
        middle = outline.mean(0)
        waves = 1 + rng.uniform(0.02, 0.06) * np.abs(np.sin(np.linspace(0, np.pi * rng.integers(12, 50), len(outline))))
        outline = np.asarray(middle + (outline - middle) * waves[:, None], np.float32)
    cover = filled(size, [outline])
    inner = np.zeros_like(cover)
    if rng.random() < 0.7:
        middle = outline.mean(0) + rng.normal(0, 0.15, 2) * radius
        inner = filled(size, [np.asarray(middle + (outline - outline.mean(0)) * rng.uniform(0.3, 0.75), np.float32)])
    if rng.random() < 0.7:
        hem = np.zeros((size * ENLARGED, size * ENLARGED), np.uint8)
        thick = max(1, round(size * rng.uniform(0.002, 0.012) * ENLARGED))
        cv2.polylines(hem, [fixed(outline)], True, 255.0, thick, cv2.LINE_AA, 4)
        small = cv2.resize(hem.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)
        inner = np.maximum(inner, small)
    return cover, np.asarray(inner, np.float32)


def net(rng: np.random.Generator, size: int) -> Layer:
    """Net, mesh, sieve, fence: wires of square, diamond or six-sided meshes in a frame, flat or bulging."""
    pitch = size * np.exp(rng.uniform(np.log(0.012), np.log(0.09)))
    width = max(0.5, pitch * rng.uniform(0.05, 0.22))
    colour = metal_colour(rng) if rng.random() < 0.5 else any_colour(rng)
    target = canvas(size)
    light = light_direction(rng)
    angle, skew = rng.uniform(0, np.pi), rng.choice([np.pi / 2, np.pi / 3, rng.uniform(0.8, 1.6)])
    bulge = [smooth(rng, size, 3) * pitch * rng.uniform(0, 1.2) for _ in range(2)]
    zigzag = rng.random() < 0.3
    along = np.linspace(-0.75, 0.75, 121) * size
    for way in (angle, angle + skew):
        direction, normal = np.asarray([np.cos(way), np.sin(way)]), np.asarray([-np.sin(way), np.cos(way)])
        wave = pitch * 0.45 * (2 * np.abs((along / pitch) % 2 - 1) - 1) if zigzag else np.zeros_like(along)
        for offset in np.arange(-0.75 * size, 0.75 * size, pitch):
            path = size / 2 + direction * along[:, None] + normal * (offset + wave[:, None])
            at = np.clip(path, 0, size - 1).astype(int)
            path = path + np.stack([bulge[0][at[:, 1], at[:, 0]], bulge[1][at[:, 1], at[:, 0]]], 1)
            inside = (path > -10).all(1) & (path < size + 10).all(1)
            if inside.sum() > 1:
                tube(target, np.asarray(path[inside], np.float32), width, colour, light)
    wires = reduced(target)
    middle = (size * rng.uniform(0.45, 0.55), size * rng.uniform(0.45, 0.55))
    make = superellipse if rng.random() < 0.6 else blob
    outline = make(rng, middle, size * rng.uniform(0.3, 0.45))
    wires = wires * filled(size, [outline])[..., None]
    frame = canvas(size)
    tube(frame, outline, size * rng.uniform(0.005, 0.03), any_colour(rng), light, closed=True)
    out = over(reduced(frame), wires)
    if rng.random() < 0.35:
        coverage = filled(size, [blob(rng, middle, size * rng.uniform(0.08, 0.2))])
        out = over(out, painted(shaded(rng, texture(rng, size), coverage), coverage))
    return from_premultiplied(out)


def chain(rng: np.random.Generator, size: int) -> Layer:
    """Necklaces, chains, rings, beads, hoops."""
    target = canvas(size)
    light = light_direction(rng)
    for _ in range(int(rng.integers(1, 4))):
        colour = metal_colour(rng) if rng.random() < 0.7 else any_colour(rng)
        outline = blob(rng, (size * rng.uniform(0.35, 0.65), size * rng.uniform(0.35, 0.65)), size * 0.32, 0.5)
        steps = np.linalg.norm(np.diff(outline, axis=0, append=outline[:1]), axis=1)
        link = size * rng.uniform(0.008, 0.045)
        at = np.cumsum(steps)
        count = max(8, int(at[-1] / link))
        places = np.interp(np.linspace(0, at[-1], count, endpoint=False), at, np.arange(len(outline))).astype(int)
        beads = rng.random() < 0.35
        turn = np.linspace(0, 2 * np.pi, 30, endpoint=False)
        for number, place in enumerate(places):
            middle = outline[place]
            way = outline[(place + 1) % len(outline)] - outline[place - 1]
            angle = np.arctan2(way[1], way[0])
            if beads:
                _bead(target, middle, link * 0.5, colour, light)
                continue
            wide, tall = link * 0.75, link * (0.42 if number % 2 else 0.12)
            x, y = np.cos(turn) * wide, np.sin(turn) * tall
            ring = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)
            tube(target, np.asarray(ring + middle, np.float32), max(0.7, link * 0.16), colour, light, closed=True)
    out = reduced(target)
    if rng.random() < 0.5:
        coverage = filled(size, [superellipse(rng, (size * 0.5, size * 0.7), size * rng.uniform(0.04, 0.15))])
        out = over(painted(shaded(rng, texture(rng, size), coverage), coverage), out)
    return from_premultiplied(out)


def _bead(target: npt.NDArray[np.uint8], middle: Floats, radius: float, colour: Floats, light: Floats) -> None:
    for step in range(6):
        inward = step / 5
        shade = np.clip(colour * (0.4 + 0.7 * inward) + 0.6 * max(0.0, inward - 0.75), 0, 1) * 255
        at = fixed(np.asarray([middle + light * radius * 0.4 * inward], np.float32))[0]
        thick = int(radius * (1 - 0.85 * inward) * ENLARGED * 16)
        cv2.circle(target, (int(at[0]), int(at[1])), thick, [*shade.tolist(), 255.0], -1, cv2.LINE_AA, 4)
