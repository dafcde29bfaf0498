"""Photographs to prune and distil on where one has none of one's own: those that packages ship, and composites.

    python benchmarks/prune_photographs.py FOLDER --composites 160

Writes what `mattemill.pipeline.training.photographs` finds (its docstring has the licences), two pictures that
scikit-image (motorcycle, CC0) and matplotlib (Grace Hopper, public domain) ship besides, and composites of the matting
network's training, all at most 640 px. None of it is evaluation data.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from mattemill.pipeline.training.camera import photographed
from mattemill.pipeline.training.composites import composite
from mattemill.pipeline.training.photographs import photographs

SIDE = 640  # px
_SEED = 41
_MORE = (("skimage", "data/motorcycle_left.png"), ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--composites", type=int, default=160)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for picture in [*photographs(), *_more()]:
        scale = min(1.0, SIDE / max(picture.shape[:2]))
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
        _write(args.folder / f"photograph-{number:02}.jpg", np.asarray(small, np.uint8))
        number += 1
    for index in range(args.composites):
        rng = np.random.default_rng([_SEED, index])
        made = composite(_SEED, rng, index, SIDE)
        _write(args.folder / f"composite-{index:03}.jpg", photographed(rng, made.exact()))
    print(f"{args.folder}: {number} photographs, {args.composites} composites")


def _more() -> list[np.ndarray]:
    found = []
    for package, name in _MORE:
        spec = find_spec(package)
        path = Path(spec.origin).parent / name if spec is not None and spec.origin is not None else None
        if path is not None and path.is_file():
            found.append(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    return found


def _write(path: Path, pixels: np.ndarray) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])


if __name__ == "__main__":
    main()
