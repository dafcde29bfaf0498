"""Which photographs a network is calibrated on, and which it is judged on: never the same ones, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.datasets import Example

CALIBRATION: Final = 32
"""Photographs that are enough: ranges of u2netp hardly move beyond."""

_ONE_IN = 4  # of those that both folders hold, by their hash, is for calibration
_PHOTOGRAPHS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True, slots=True)
class Calibrating:
    """A photograph for calibration. sha256: of the file, 64 hex digits."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Split:
    """calibration, evaluation: no file's content is in both. shared: how many both folders held. told: a sentence."""

    calibration: tuple[Calibrating, ...]
    evaluation: tuple[Example, ...]
    shared: int
    told: str


def split(folder: Path, examples: Sequence[Example], most: int = CALIBRATION) -> Split:
    """Photographs below `folder` for calibration, at most so many, and those of `examples` that are not among them.

    What both hold is dealt out by the hash of the file, one in four to the calibration, so that the same photographs
    are always dealt the same way. Raises UsageError when either side has none.
    """
    candidates = {_sha256(path): path for path in reversed(photographs_below(folder))}
    judged = [(_sha256(example.image), example) for example in examples]
    shared = candidates.keys() & {sha256 for sha256, _ in judged}
    ours = {sha256 for sha256 in candidates if sha256 not in shared or int(sha256[:8], 16) % _ONE_IN == 0}
    chosen = tuple(Calibrating(candidates[sha256], sha256) for sha256 in sorted(ours)[:most])
    rest = tuple(example for sha256, example in judged if sha256 not in ours)
    if not chosen or not rest:
        raise UsageError(
            f"{folder}: {len(chosen)} photographs are left to calibrate on and {len(rest)} to judge on, after "
            f"{len(shared)} that both folders hold were dealt out; give more photographs, or other ones to --calibrate"
        )
    told = f"calibrated on {len(chosen)} photographs, judged on {len(rest)}: "
    told += (
        f"{len(shared)} lay in both folders and were dealt out by the hash of the file, none is in both"
        if shared
        else "no file is in both"
    )
    return Split(chosen, rest, len(shared), told)


def photographs_below(folder: Path) -> list[Path]:
    """The photographs of a set, of a folder of sets, or of any folder; masks and mattes beside an image/ are none.

    Raises UsageError when there is none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder of photographs to calibrate on")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in _PHOTOGRAPHS]
    of_sets = [path for path in files if path.parent.name == "image"]
    found = of_sets or files
    if not found:
        raise UsageError(f"{folder}: holds no photograph to calibrate on")
    return found


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
