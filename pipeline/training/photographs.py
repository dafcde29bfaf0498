"""Real photographs, as textures and backgrounds: those of this repository's samples, and those that packages ship.

None is needed: what is not installed is left out, and procedural textures take its place. So a run is repeatable for
the same seed and the same installed sources only. All are free to use for this, and none is evaluation data:

- tests/samples/photos of this repository, where it is checked out; its README has sources, authors and licences
  (public domain, CC0, and CC BY 2.0: a flower, vultilion; a temple, danielbuechele).
- scikit-image's `data` folder, by its docstrings: brick, grass, gravel (CC0, cc0textures.com), chelsea (CC0, Stefan van
  der Walt), coffee (CC0, Rachel Michetti), astronaut (public domain, NASA), rocket (public domain, SpaceX),
  hubble_deep_field (public domain, NASA), retina (CC0).
- scikit-learn's `datasets/images`: china.jpg (CC BY 2.0, danielbuechele), flower.jpg (CC BY 2.0, vultilion).

A trained network keeps no picture of them; the attributions are here because they are due.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

_SAMPLES = (
    "astronaut.jpg",
    "cat.png",
    "coffee.webp",
    "flower-rotated.jpg",
    "grace-hopper.jpg",
    "gravel.jpg",
    "raccoon.jpg",
)
_SHIPPED = {
    "skimage": (
        "data/astronaut.png",
        "data/brick.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/grass.png",
        "data/gravel.png",
        "data/hubble_deep_field.jpg",
        "data/retina.jpg",
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
_LEAST, _MOST = 256, 1024  # px: shorter and longer side kept


@cache
def photographs() -> tuple[npt.NDArray[np.uint8], ...]:
    """All photographs that are there, uint8 (H, W, 3) RGB, in a fixed order; may be empty."""
    out = []
    for path in sources():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        scale = min(1.0, _MOST / max(pixels.shape[:2]))
        if scale < 1:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if min(pixels.shape[:2]) >= _LEAST:
            out.append(np.ascontiguousarray(pixels, np.uint8))
    return tuple(out)


def sources() -> list[Path]:
    """The files that `photographs` reads, those that are there."""
    samples = Path(__file__).resolve().parents[2] / "tests" / "samples" / "photos"
    found = [samples / name for name in _SAMPLES]
    for package, names in _SHIPPED.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            found += [Path(spec.origin).parent / name for name in names]
    return [path for path in found if path.is_file()]


def photograph_texture(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32] | None:
    """A random piece of a random photograph, turned and enlarged: float32 (size, size, 3) in 0..1; None: there is none.

    The piece is at least a third of the photograph's shorter side, so that it does not come out as a mere blur.
    """
    known = photographs()
    if not known:
        return None
    image = known[int(rng.integers(len(known)))]
    height, width = image.shape[:2]
    side = int(min(height, width) * rng.uniform(0.35, 1.0))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    piece = np.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    out = cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=way)
    return np.asarray(out, np.float32) / np.float32(255)
