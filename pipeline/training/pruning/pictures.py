"""Unlabelled photographs of a folder as a network's inputs: some held out, the others cut, turned and recoloured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.models.card import InputContract
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.photo import Rgb
from mattemill.pipeline.precision.gate import read_rgb

HELD_OUT: Final = 8
"""Every so-manieth photograph is none that is learnt from."""

LEAST: Final = 16
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_LONG_SIDE = 640  # px; of what is kept in memory: 0.8 MB a photograph
_CACHED = 1024

Input = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Photographs by their names: files that are learnt from, and files that are held out."""

    learnt: tuple[Path, ...]
    held_out: tuple[Path, ...]
    contract: InputContract

    def sample(self, seed: int, index: int) -> Input:
        """Sample number `index` of a seed, whatever was asked for before: float32 (1, 3, h, w)."""
        rng = np.random.default_rng([seed, index])
        image = _read(self.learnt[int(rng.integers(len(self.learnt)))])
        return card_input(_recoloured(rng, _piece(rng, image)), self.contract)

    def plain(self, path: Path) -> Input:
        """A whole photograph, as a job would ask for it: float32 (1, 3, h, w)."""
        return card_input(_read(path), self.contract)


def open_pictures(folder: Path, contract: InputContract) -> Pictures:
    """All photographs of a folder and the folders in it.

    Raises UsageError for a folder that is not there or has fewer than LEAST.
    """
    if not folder.is_dir():
        raise UsageError(f"--photographs {folder}: there is no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(files) < LEAST:
        raise UsageError(f"--photographs {folder}: has {len(files)} photographs, needs {LEAST} at least, better 1000")
    held_out = tuple(files[::HELD_OUT])
    return Pictures(tuple(path for path in files if path not in set(held_out)), held_out, contract)


@lru_cache(_CACHED)
def _read(path: Path) -> Rgb:
    image = read_rgb(path)
    scale = _LONG_SIDE / max(image.shape[:2])
    if scale < 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    image.setflags(write=False)
    return image


def _piece(rng: np.random.Generator, image: Rgb) -> Rgb:
    """Half of the time all of it; else a window of half to all of each side. Mirrored half of the time."""
    if rng.random() < 0.5:
        height, width = (max(1, round(side * rng.uniform(0.5, 1.0))) for side in image.shape[:2])
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        image = image[top : top + height, left : left + width]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _recoloured(rng: np.random.Generator, image: Rgb) -> Rgb:
    """White balance, exposure and contrast within what cameras and shops make of them."""
    gains = np.exp(rng.normal(0, 0.05, 3) + rng.normal(0, 0.1)).astype(np.float32)
    curve = np.exp(rng.normal(0, 0.15))
    levels = 255 * np.power(np.arange(256, dtype=np.float32) / 255, np.float32(curve))
    table = np.clip(levels[:, None] * gains + 0.5, 0, 255).astype(np.uint8)  # (256, 3)
    return np.ascontiguousarray(np.stack([table[image[..., i], i] for i in range(3)], axis=-1))
