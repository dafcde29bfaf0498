"""Folders of photographs with ground truth.

A set is a folder with image/ and any of:
  alpha/      soft mattes, 8 or 16 bits; the best truth there is
  mask/       hard masks, 0 and 255; 128 = this pixel does not count
  mask_main/  hard masks of one of several things: a truth that need not be the salient one
  trimap/, trimap2/   0, 255, and unknown between (tight, wide)
  instances.json      COCO's format: boxes and masks of all things
Files pair by name, whatever their suffix. A folder whose sub-folders are sets is a collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.metrics import Counted
from mattemill.pipeline.photo import Alpha

TruthKind = Literal["alpha", "mask", "mask_main"]

_TRUTHS: Final[tuple[TruthKind, ...]] = ("alpha", "mask", "mask_main")  # the first that is there is taken
_PHOTOGRAPHS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
_UNCOUNTED = 128  # value of a mask where annotators would not say
_BAND = 0.01  # of the photograph's long side: how far the derived band reaches from where the truth is soft
_SOFT = 3  # of 255: a truth that was made by a network has this much haze on flat ground


@dataclass(frozen=True, slots=True)
class Example:
    """One photograph of a set, and where its truth lies.

    kind: what `truth` is; None, as `truth`, for a photograph that only instances.json speaks of.
    trimap, trimap2: files, or None.
    """

    set: str
    name: str
    image: Path
    truth: Path | None
    kind: TruthKind | None
    trimap: Path | None = None
    trimap2: Path | None = None

    @property
    def key(self) -> str:
        """'set/name': unique in a collection."""
        return f"{self.set}/{self.name}"


@dataclass(frozen=True, slots=True)
class TruthSet:
    """A set: its photographs in the order of their names.

    apart: its masks are of the main instance, which need not be what a person would cut out: not in the mean over
    all sets. instances: its COCO file, or None.
    """

    name: str
    folder: Path
    examples: tuple[Example, ...]
    apart: bool
    instances: Path | None


@dataclass(frozen=True, slots=True)
class Truth:
    """What the matte of a photograph should be.

    alpha: float32 (H, W) in 0..1. counted: bool (H, W), or None for all pixels. soft: an alpha, not a mask.
    band: bool (H, W), where alpha has to be found. supplied_band: it comes from the set's trimap.
    """

    alpha: Alpha
    counted: Counted
    soft: bool
    band: npt.NDArray[np.bool_]
    supplied_band: bool


def open_sets(folder: Path, wanted: Sequence[str] | None = None, limit: int | None = None) -> tuple[TruthSet, ...]:
    """The set, or the sets, that a folder holds, by name.

    wanted: names of the sets to take; None = all. limit: at most so many photographs a set, the first by name.
    Raises UsageError that names what is wrong: nothing there, a photograph without truth, a truth without photograph.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    if (folder / "image").is_dir():
        folders = [folder.resolve()]
    else:
        folders = sorted(sub for sub in folder.iterdir() if (sub / "image").is_dir())
    if not folders:
        raise UsageError(
            f"{folder}: holds neither image/ nor folders with image/; a set is image/ beside alpha/, mask/"
        )
    names = {each.name for each in folders}
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise UsageError(f"{folder}: has no set {unknown[0]!r}; it has {', '.join(sorted(names))}")
    return tuple(_open_set(each, limit) for each in folders if wanted is None or each.name in wanted)


def read_truth(example: Example, shape: tuple[int, int]) -> Truth:
    """The truth of a photograph of (H, W) as shown. Raises UsageError when a file is not what it should be."""
    if example.truth is None or example.kind is None:
        raise ValueError(f"{example.key} has no truth")
    values = _read_grey(example.truth, shape)
    counted: Counted = None
    if example.kind == "alpha":
        alpha = values
    else:
        top = float(values.max())
        if 0.0 < top < 0.5:
            raise UsageError(f"{example.truth}: a mask is 0 and 255, this one ends at {top * 255:.0f}")
        uncounted = np.rint(values * 255.0) == _UNCOUNTED
        counted = ~uncounted if uncounted.any() else None
        alpha = np.asarray(values > 0.5, np.float32)
        if counted is not None:
            alpha[uncounted] = 0.0
    if example.trimap is not None:
        unknown, supplied = read_trimap(example.trimap, shape) == _UNCOUNTED, True
    else:
        unknown, supplied = derived_band(alpha), False
    return Truth(alpha, counted, example.kind == "alpha", unknown, supplied)


def read_trimap(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A trimap as uint8 (H, W) of 0, 128 and 255: whatever is neither black nor white is unknown.

    Raises UsageError when it cannot be read or is not of the photograph's size.
    """
    levels = np.rint(_read_grey(path, shape) * 255.0)
    return np.where(levels <= 0, 0, np.where(levels >= 255, 255, 128)).astype(np.uint8)


def derived_band(truth: Alpha) -> npt.NDArray[np.bool_]:
    """Where alpha has to be found, when a set has no trimap: near what is soft in the truth, and near its contour.

    truth: float32 (H, W) in 0..1. Soft is what differs from 0 and 1 by over 3/255; near is within 1 % of the long side
    (at least 2 pixels), as far as an ellipse reaches. Kept apart from `kernels.trimap`, so that a change of the
    pipeline's trimap does not move the yardstick.
    """
    low = np.float32(_SOFT / 255)
    soft = (truth > low) & (truth < np.float32(1.0) - low)
    inside = (truth >= np.float32(0.5)).view(np.uint8)
    contour = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    reach = max(2, round(_BAND * max(truth.shape)))
    # By the distance and not by a dilation: its cost does not grow with the radius.
    away = cv2.distanceTransform((~(soft | (contour > 0))).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(away <= reach, np.bool_)


def _open_set(folder: Path, limit: int | None) -> TruthSet:
    images = _by_name(folder / "image", _PHOTOGRAPHS)
    if not images:
        raise UsageError(f"{folder / 'image'}: holds no photograph")
    instances = folder / "instances.json"
    has_instances = instances.is_file()
    kinds = [kind for kind in _TRUTHS if (folder / kind).is_dir()]
    if not kinds and not has_instances:
        raise UsageError(f"{folder}: has image/, but none of alpha/, mask/, mask_main/ and instances.json beside it")
    truths = {kind: _by_name(folder / kind, _PHOTOGRAPHS) for kind in kinds}
    trimaps = {name: _by_name(folder / name, _PHOTOGRAPHS) for name in ("trimap", "trimap2")}
    for where, files in (*truths.items(), *trimaps.items()):
        orphan = next((name for name in files if name not in images), None)
        if orphan is not None:
            raise UsageError(f"{files[orphan]}: there is no photograph image/{orphan}.* for this {where}")
    examples = []
    for name, image in images.items():
        kind = next((kind for kind in kinds if name in truths[kind]), None)
        if kind is None and not has_instances:
            raise UsageError(f"{image}: has no truth in {' or '.join(f'{kind}/' for kind in kinds)}")
        truth = truths[kind][name] if kind is not None else None
        examples.append(
            Example(folder.name, name, image, truth, kind, trimaps["trimap"].get(name), trimaps["trimap2"].get(name))
        )
    apart = not any(kind != "mask_main" for kind in kinds)
    return TruthSet(folder.name, folder, tuple(examples[:limit]), apart, instances if has_instances else None)


def _by_name(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    """Files by name without suffix, sorted; hidden files and other types are passed over."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if path.stem in found:
            raise UsageError(f"{path}: has the same name as {found[path.stem].name}; files pair by their names")
        found[path.stem] = path
    return found


def _read_grey(path: Path, shape: tuple[int, int]) -> Alpha:
    """A grey picture as float32 (H, W) in 0..1. Of one with transparency, that is what counts."""
    try:
        pixels: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    if pixels is None:
        raise UsageError(f"{path}: is not a picture that can be read")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"{path}: has {pixels.dtype} values; a truth has 8 or 16 bits")
    full = np.float32(np.iinfo(pixels.dtype).max)
    if pixels.shape[:2] != shape:
        raise UsageError(
            f"{path}: is {pixels.shape[1]}x{pixels.shape[0]}, its photograph as shown {shape[1]}x{shape[0]}"
        )
    if pixels.ndim == 3:
        opaque = pixels.shape[2] < 4 or bool((pixels[..., 3] == full).all())
        if opaque and bool((pixels[..., :3] != pixels[..., :1]).any()):
            raise UsageError(f"{path}: is a colour picture; a truth is grey, or a cut-out with transparency")
        pixels = pixels[..., 0 if opaque else 3]
    return np.ascontiguousarray(pixels, np.float32) / full
