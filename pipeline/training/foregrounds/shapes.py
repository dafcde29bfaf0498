"""Outlines of bodies, (p, 2) x and y in pixels, and their shading."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.noise import fractal

Floats = npt.NDArray[np.floating[Any]]

_POINTS = 240


def blob(rng: np.random.Generator, centre: tuple[float, float], radius: float, roughness: float = 0.25) -> Floats:
    """A smooth closed curve around the centre: an ellipse with low harmonics."""
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    radii = np.ones(_POINTS)
    for harmonic in range(2, 7):
        radii += roughness / harmonic * rng.normal() * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    radii = radius * np.clip(radii, 0.4, 1.7)
    return turned(_ring(angles, radii, rng.uniform(0.65, 1.0)), rng.uniform(0, np.pi), centre)


def superellipse(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> Floats:
    """Between a lozenge and a rectangle with rounded corners: what much of what is made by man looks like."""
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    power = 2 / rng.choice([1.0, 2.0, 3.0, 5.0, 12.0])
    x = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power
    y = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power
    points = np.stack([x * radius, y * radius * rng.uniform(0.5, 1.0)], 1)
    return turned(points, rng.normal(0, 0.25), centre)


def polygon(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> Floats:
    """Three to nine corners, star-shaped around the centre."""
    count = int(rng.integers(3, 10))
    angles = np.sort(np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.25, 0.25, count))
    return turned(_ring(angles, radius * rng.uniform(0.6, 1.1, count), 1.0), rng.uniform(0, 2 * np.pi), centre)


def turned_body(rng: np.random.Generator, centre: tuple[float, float], height: float) -> Floats:
    """The outline of something turned on a lathe: bottle, vase, cup, glass, lamp."""
    rows = np.linspace(-1, 1, _POINTS // 2)
    knots = int(rng.integers(4, 8))
    half = np.interp(rows, np.linspace(-1, 1, knots), rng.uniform(0.12, 0.5, knots))
    if rng.random() < 0.5:  # A neck, a shoulder, and sides that are almost straight: bottles, jars.
        neck, shoulder = rng.uniform(-0.8, 0.1), rng.uniform(0.05, 0.4)
        thin = rng.uniform(0.06, 0.3)
        half = np.interp(rows, [-1, neck, neck + shoulder, 1], [thin, thin, 0.45, rng.uniform(0.36, 0.5)])
    if rng.random() < 0.7:  # Smooth, else a lathe's edges stay.
        column = cv2.GaussianBlur(half.reshape(-1, 1), (1, 61), rng.uniform(5, 14), borderType=cv2.BORDER_REPLICATE)
        half = np.asarray(column, np.float64)[:, 0]
    half = half * min(1.0, 0.48 / half.max())
    right = np.stack([half, rows * 0.5], 1)
    left = np.stack([-half[::-1], rows[::-1] * 0.5], 1)
    return turned(np.concatenate([right, left]) * height, rng.normal(0, 0.04), centre)


def turned(points: npt.NDArray[np.floating], angle: float, centre: tuple[float, float]) -> Floats:
    """Points about the origin, turned by `angle` (radians) and put at the centre."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.asarray([[cos, sin], [-sin, cos]]) + np.asarray(centre), np.float32)


def shaded(
    rng: np.random.Generator, colours: Floats, coverage: Floats, roundness: float = 1.0, gloss: float = 0.6
) -> Floats:
    """Colours as the surface of an inflated body under one light: float32 (size, size, 3) in 0..1.

    roundness: of the relief. gloss: how often there is a highlight, 0..1. Height is the root of the distance to the
    border, smoothed; Lambert's law, a highlight (Phong 1975), a fill.
    """
    size = coverage.shape[0]
    inside = (coverage > 0.5).astype(np.uint8)
    small = cv2.resize(inside, (size // 2, size // 2), interpolation=cv2.INTER_NEAREST)
    distance = cv2.distanceTransform(small, cv2.DIST_L2, 3) * 2
    reach = max(4.0, float(distance.max()))
    height = np.sqrt(np.clip(distance / reach, 0, 1)) * reach * rng.uniform(0.5, 1.4) * roundness
    height = height + rng.uniform(0, 0.12) * reach * fractal(rng, size // 2, int(rng.integers(3, 10)), 4)
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), max(1.0, reach * rng.uniform(0.03, 0.15)))
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 16)
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 16)
    length = np.sqrt(across * across + down * down + 1)
    angle, lift = rng.normal(-np.pi / 2, 0.9), rng.uniform(0.4, 1.2)
    light = np.asarray([np.cos(angle), np.sin(angle), lift]) / np.hypot(1, lift)
    cosine = (-across * light[0] - down * light[1] + light[2]) / length
    diffuse = cv2.resize(np.clip(cosine, 0, 1).astype(np.float32), (size, size))
    ambient = rng.uniform(0.35, 0.8)
    out = colours * (ambient + (1.15 - ambient) * diffuse)[..., None]
    if rng.random() < gloss:
        sharp = rng.choice([8.0, 20.0, 60.0])
        out = out + (rng.uniform(0.1, 0.7) * diffuse**sharp)[..., None]
    return np.asarray(np.clip(out, 0, 1), np.float32)


def _ring(angles: npt.NDArray[np.floating], radii: npt.NDArray[np.floating], squeeze: float) -> Floats:
    return np.asarray(np.stack([np.cos(angles) * radii, np.sin(angles) * radii * squeeze], 1), np.float32)
