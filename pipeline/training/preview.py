"""A contact sheet of training samples: `python -m mattemill.pipeline.training.preview FILE.png [KIND ...]`.

What a network is to learn from should be looked at before it learns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.foregrounds import KINDS
from mattemill.pipeline.training.sample import Sample
from mattemill.pipeline.training.samples import Maker


def preview(samples: list[Sample], columns: int = 2) -> npt.NDArray[np.uint8]:
    """Photo, alpha, trimap, prior and front of each, side by side, `columns` samples a row: uint8 (H, W, 3)."""
    if not samples:
        raise ValueError("samples = []: there is nothing to show; make at least one")
    cells = [_strip(sample) for sample in samples]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.concatenate(cells[at : at + columns], 1) for at in range(0, len(cells), columns)]
    return np.concatenate(rows, 0)


def main(arguments: list[str] | None = None) -> None:
    """Write a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("kinds", nargs="*", default=[], help=f"of {', '.join(kind.name for kind in KINDS)}; none: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, default=12, help="samples, of each kind if kinds are named")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--columns", type=int, default=2)
    given = parser.parse_intermixed_args(arguments)
    indices = range(given.first, given.first + given.count)
    makers = [Maker(given.seed, given.size, kind) for kind in given.kinds or [None]]
    sheet = preview([make(index) for make in makers for index in indices], given.columns)
    if not cv2.imwrite(str(given.file), sheet[..., ::-1]):
        parser.error(f"{given.file}: could not be written; name a .png in a folder that exists")


def _strip(sample: Sample) -> npt.NDArray[np.uint8]:
    grey = [np.repeat(part[..., None], 3, 2) for part in (sample.alpha, sample.trimap, sample.prior)]
    return np.concatenate([sample.photo, *grey, sample.front], 1)


if __name__ == "__main__":
    main()
