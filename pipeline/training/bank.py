"""A bank of layers and backgrounds, made from the seed when they are first asked for, and kept in memory.

A layer takes tenths of a second; a new piece of it, turned, scaled, recoloured and put before another background, takes
milliseconds and is almost a new sample. The bank renews itself slowly, one slot after another, so that a long run goes
on seeing new layers. What a slot holds depends on the seed, the slot and the sample's index only, so samples may be
made in any order by any number of processes; each has a bank of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.backgrounds import scenery
from mattemill.pipeline.training.foregrounds import KINDS, Kind

LAYER_SIDE = 768
SCENE_SIDE = 640
SCENES = 128
RENEWED = 30_000
"""Samples after which every slot holds something new."""

Key = TypeVar("Key")
Value = TypeVar("Value")

_KEPT_LAYERS, _KEPT_SCENES = 260, 260  # 3 MB and 1.6 MB each: 1.2 GB at most
_EDGE_POINTS = 4096
_SLOTS = tuple(kind for kind in KINDS for _ in range(kind.weight))
_LAYERS, _SCENERY = 1, 2  # second word of a seed


@dataclass(frozen=True, slots=True)
class Entry:
    """A layer of the bank.

    full: uint8 (LAYER_SIDE, LAYER_SIDE, 4), colour (not premultiplied) and alpha; half: the same at half of the side.
    edges: float32 (n, 2), x and y of pixels in or at the border of the subject; n may be 0.
    """

    kind: Kind
    full: npt.NDArray[np.uint8]
    half: npt.NDArray[np.uint8]
    edges: npt.NDArray[np.float32]


def layer(seed: int, rng: np.random.Generator, index: int) -> Entry:
    """A random slot's layer, as it is at sample `index`."""
    return _layer(seed, int(rng.integers(len(_SLOTS))), index)


def layer_of_kind(seed: int, name: str, rng: np.random.Generator, index: int) -> Entry:
    """The same, of one kind only. Raises ValueError when there is no such kind."""
    slots = [number for number, kind in enumerate(_SLOTS) if kind.name == name]
    if not slots:
        raise ValueError(f"kind = {name!r}: there is none; one of {', '.join(kind.name for kind in KINDS)}")
    return _layer(seed, slots[int(rng.integers(len(slots)))], index)


def scene(seed: int, rng: np.random.Generator, index: int) -> npt.NDArray[np.uint8]:
    """A random slot's background: uint8 (SCENE_SIDE, SCENE_SIDE, 3)."""
    slot = int(rng.integers(SCENES))
    age = (index + slot * RENEWED // SCENES) // RENEWED
    return _kept(
        _scene_cache,
        (seed, slot, age),
        _KEPT_SCENES,
        lambda: scenery(np.random.default_rng([seed, _SCENERY, slot, age]), SCENE_SIDE),
    )


def _layer(seed: int, slot: int, index: int) -> Entry:
    age = (index + slot * RENEWED // len(_SLOTS)) // RENEWED
    return _kept(_layer_cache, (seed, slot, age), _KEPT_LAYERS, lambda: _made(seed, slot, age))


def _made(seed: int, slot: int, age: int) -> Entry:
    rng = np.random.default_rng([seed, _LAYERS, slot, age])
    kind = _SLOTS[slot]
    made = kind.make(rng, LAYER_SIDE)
    full = np.dstack([made.rgb, made.alpha])
    half = LAYER_SIDE // 2
    # Resampled as premultiplied, so that what nothing covers has no say.
    weight = made.alpha[..., None].astype(np.float32) + 1
    sums = cv2.resize(np.dstack([made.rgb * weight, weight]), (half, half), interpolation=cv2.INTER_AREA)
    small = np.dstack([sums[..., :3] / sums[..., 3:], sums[..., 3] - 1])
    inside = (made.alpha >= 128).astype(np.uint8)
    border = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((border > 0) | ((made.alpha > 12) & (made.alpha < 243)))
    if len(rows) > _EDGE_POINTS:
        chosen = rng.choice(len(rows), _EDGE_POINTS, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    edges = np.stack([columns, rows], 1).astype(np.float32)
    return Entry(kind, full, np.asarray(np.clip(small + 0.5, 0, 255), np.uint8), edges)


def _kept(cache: OrderedDict[Key, Value], key: Key, most: int, make: Callable[[], Value]) -> Value:
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    value = make()
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
    return value


_layer_cache: OrderedDict[tuple[int, int, int], Entry] = OrderedDict()
_scene_cache: OrderedDict[tuple[int, int, int], npt.NDArray[np.uint8]] = OrderedDict()
