"""What the checks of the CUDA kernels share: pictures, and resampling in float64 by definition.

A check is a function `check_...(device)` in the module of this folder that is named after the .cu file. It compares
with float64 NumPy and with the NumPy twin, and raises AssertionError. The same checks run on the CPU driver in three
thread orders, under the sanitizers, on mutated kernels (where one must fail), and on a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray

Check = Callable[[Device], None]

SIZES = [(1, 1), (1, 37), (41, 1), (61, 97), (128, 160)]


def all_checks() -> dict[str, dict[str, Check]]:
    """Checks by the .cu file's stem and by name."""
    found: dict[str, dict[str, Check]] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem != "tools":
            module = importlib.import_module(f"cuda_checks.{path.stem}")
            found[path.stem] = {name: value for name, value in vars(module).items() if name.startswith("check_")}
    return found


def photograph(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Noise on a ramp: uint8 (H, W, 3), or (H, W) for 1 channel."""
    rng = np.random.default_rng(height * 100_003 + width)
    ramp = np.linspace(0, 120, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    pixels = (ramp + rng.integers(0, 76, (height, width, channels))).astype(np.uint8)
    return pixels if channels > 1 else pixels[..., 0]


def soft_mask(height: int, width: int) -> np.ndarray:
    """float32 (H, W) in 0..1 with sure, empty and soft parts: a disc with an edge that is wider to the right."""
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(y - height * 0.48, x - width * 0.52)
    edge = 1 + 0.12 * x
    rng = np.random.default_rng(height * 1009 + width)
    mask = np.clip((0.33 * min(height, width) - distance) / edge + 0.5, 0, 1)
    specks = rng.random((height, width)) < 0.01
    return np.where(specks, rng.random((height, width)), mask).astype(np.float32)


def on_device(device: Device, array: np.ndarray, *, hostile: bool = True) -> DeviceArray:
    """On the device; hostile: inside a larger array of other values, so that rows are an odd number of bytes apart."""
    if not hostile:
        return device.upload(array)
    height, width = array.shape[:2]
    around = np.full((height + 3, width + 5, *array.shape[2:]), 93, array.dtype)
    around[2 : 2 + height, 3 : 3 + width] = array
    return device.upload(around).window(3, 2, 3 + width, 2 + height)


def worst(out: np.ndarray, truth: np.ndarray) -> float:
    """The largest difference; the shapes must be equal."""
    assert out.shape == truth.shape, f"shape {out.shape}, not {truth.shape}"
    difference = np.abs(out.astype(np.float64) - truth)
    assert np.isfinite(difference).all(), "not finite"
    return float(difference.max()) if difference.size else 0.0


def resized(image: np.ndarray, size: tuple[int, int], matrix: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """An image through a separable filter, float64."""
    down, across = matrix(image.shape[0], size[0]), matrix(image.shape[1], size[1])
    return np.einsum("yj,ji...,xi->yx...", down, image.astype(np.float64), across, optimize=True)


def area_matrix(before: int, after: int) -> np.ndarray:
    """(after, before): the share of each output pixel that each input pixel covers."""
    edges_out = np.arange(after + 1) * (before / after)
    low = np.maximum(edges_out[:-1, None], np.arange(before)[None])
    high = np.minimum(edges_out[1:, None], np.arange(before)[None] + 1.0)
    return np.maximum(0, high - low) * (after / before)


def linear_matrix(before: int, after: int) -> np.ndarray:
    """Two taps around the centre of the output pixel, the edge repeated."""
    return _taps(before, after, 0, 2, lambda x: np.maximum(0, 1 - np.abs(x)))


def cubic_matrix(before: int, after: int) -> np.ndarray:
    """Keys' cubic with a = -0.75, the edge repeated."""

    def weight(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        a = -0.75
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0))

    return _taps(before, after, -1, 4, weight)


def lanczos_matrix(before: int, after: int) -> np.ndarray:
    """Lanczos 3, widened when it reduces, what leaves the frame left out, rows of sum 1 (Pillow's)."""
    scale = before / after
    wide = max(1.0, scale)
    x = (np.arange(before)[None] + 0.5 - (np.arange(after)[:, None] + 0.5) * scale) / wide
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def _taps(before: int, after: int, start: int, count: int, weight: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    centre = (np.arange(after) + 0.5) * (before / after) - 0.5
    first = np.floor(centre).astype(int) + start
    out = np.zeros((after, before))
    for k in range(count):
        at = np.clip(first + k, 0, before - 1)
        np.add.at(out, (np.arange(after), at), weight(centre - (first + k)))
    return out
