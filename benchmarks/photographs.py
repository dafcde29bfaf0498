"""The photographs that the benchmarks cut: 2 MP JPEGs made from the samples, the same ones every time.

No two are equal: each is a sample cropped a little, perhaps mirrored, enlarged and set into a frame of 1600 x 1250
somewhere near its middle, its exposure changed and grain added, because an enlarged picture without grain is half as
many bytes as a real photograph and would decode too fast. The subject leaves room around it, so that the network
passes are two: the whole frame, and the crop. (On a photograph that its subject fills, the second pass is saved.)
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

WIDTH, HEIGHT = 1600, 1250
"""Pixels: 2 MP, what catalogues hold."""

SAMPLES = Path(__file__).resolve().parent.parent / "tests" / "samples" / "photos"

WITH_SUBJECT = ("astronaut.jpg", "cat.png", "coffee.webp", "flower-rotated.jpg", "raccoon.jpg")
"""Samples in colour that end as a matte."""


def photographs(count: int, *, quality: int = 88) -> list[tuple[str, bytes]]:
    """`count` (name, JPEG bytes), the same bytes for the same count and Pillow version."""
    sources = []
    for name in WITH_SUBJECT:
        with Image.open(SAMPLES / name) as image:
            sources.append((name.split(".")[0], ImageOps.exif_transpose(image).convert("RGB")))
    return [_photograph(index, *sources[index % len(sources)], quality=quality) for index in range(count)]


def _photograph(index: int, name: str, source: Image.Image, *, quality: int) -> tuple[str, bytes]:
    rng = np.random.default_rng(index)
    aspect = WIDTH / HEIGHT
    width = min(source.width, source.height * aspect) * rng.uniform(0.9, 1.0)
    height = width / aspect
    left = rng.uniform(0.3, 0.7) * (source.width - width)
    top = rng.uniform(0.2, 0.6) * (source.height - height)
    part = (left, top, left + width, top + height)
    # The sample fills about half of the frame, as an article does in a catalogue, over its own blurred surroundings.
    frame = source.resize((WIDTH // 20, HEIGHT // 20), Image.Resampling.BOX, part).filter(ImageFilter.GaussianBlur(4))
    frame = frame.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    share = rng.uniform(0.66, 0.74)
    size = (round(WIDTH * share), round(HEIGHT * share))
    at = (round((WIDTH - size[0]) * rng.uniform(0.3, 0.7)), round((HEIGHT - size[1]) * rng.uniform(0.3, 0.7)))
    soft = Image.new("L", size, 0)
    soft.paste(255, (40, 40, size[0] - 40, size[1] - 40))
    frame.paste(source.resize(size, Image.Resampling.BICUBIC, part), at, soft.filter(ImageFilter.GaussianBlur(16)))
    if index // len(WITH_SUBJECT) % 2:
        frame = ImageOps.mirror(frame)
    grain = rng.normal(0.0, 3.0, (HEIGHT, WIDTH, 1)).astype(np.float32)
    pixels = np.asarray(frame, np.float32) * rng.uniform(0.9, 1.1) + grain
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "jpeg", quality=quality)
    return f"{index:04d}-{name}.jpg", out.getvalue()
