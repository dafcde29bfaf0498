"""Which units go: over all layers the blocks that cost the output least for each multiply-add that they save."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.training.pruning.channels import Channels
from mattemill.pipeline.training.pruning.cost import cost_of, weights_left
from mattemill.pipeline.training.pruning.slim import Kept

BLOCK = 8
"""Units that go at once. Runtimes compute channels in blocks (ONNX Runtime 8 with AVX2, tensor cores 8 halves), so that
11 channels cost what 16 do."""

MOST = 0.75
"""Share that a layer may lose at most: none becomes a bottleneck because one estimate was wrong."""


@dataclass(frozen=True, slots=True)
class _Family:
    """Units that the same convolutions make, the least important first. spared: how many of them stay at least."""

    units: npt.NDArray[np.intp]
    spared: int


def choose(
    channels: Channels,
    pixels: dict[str, int],
    importance: npt.NDArray[np.float64],
    ratio: float,
    *,
    block: int = BLOCK,
    most: float = MOST,
) -> Kept:
    """The units that stay when the share `ratio` of the multiply-adds goes, and as little more as blocks allow.

    importance: (units,), what the output loses with each; sums are taken over a block. A layer keeps a multiple of
    `block`, or what it has. ratio 0 keeps everything. Raises ConfigError when the layers' floors do not allow so much.
    """
    if not 0 <= ratio < 1:
        raise ConfigError(f"ratio = {ratio:g}: must be a share in 0..1, such as 30%")
    kept = np.ones(channels.count, np.bool_)
    families = _families(channels, importance, block, most)
    touching = [_touching(channels, family.units) for family in families]
    whole = cost_of(channels, pixels).gmac
    gone = [0] * len(families)
    while cost_of(channels, pixels, kept).gmac > (1 - ratio) * whole * (1 + 1e-12):
        best: tuple[float, int, npt.NDArray[np.intp]] | None = None
        for i, family in enumerate(families):
            left = len(family.units) - gone[i]
            count = left % block or block
            if left - count < family.spared:
                continue
            going = family.units[gone[i] : gone[i] + count]
            saved = _saved(channels, pixels, kept, touching[i], going)
            score = float(importance[going].sum()) / max(saved, 1.0)
            if best is None or score < best[0]:
                best = (score, i, going)
        if best is None:
            reached = 1 - cost_of(channels, pixels, kept).gmac / whole
            raise ConfigError(
                f"ratio = {ratio:.0%}: no more than {reached:.0%} of the multiply-adds can go while each layer keeps "
                f"{1 - most:.0%} of its channels, and {block} at least"
            )
        _, i, going = best
        kept[going] = False
        gone[i] += len(going)
    return kept


def _families(channels: Channels, importance: npt.NDArray[np.float64], block: int, most: float) -> list[_Family]:
    makers: dict[int, list[int]] = {}
    for number, each in enumerate(channels.convolutions):
        for unit in each.outs:
            makers.setdefault(int(unit), []).append(number)
    families: dict[tuple[int, ...], list[int]] = {}
    for unit, numbers in makers.items():
        if not channels.fixed[unit]:
            families.setdefault(tuple(numbers), []).append(unit)
    found = []
    for members in families.values():
        units = np.array(members, np.intp)
        ordered = units[np.argsort(importance[units], kind="stable")]
        found.append(_Family(ordered, max(min(block, len(units)), int(np.ceil((1 - most) * len(units))))))
    return found


def _touching(channels: Channels, units: npt.NDArray[np.intp]) -> list[int]:
    mine = set(units.tolist())
    return [
        number
        for number, each in enumerate(channels.convolutions)
        if not mine.isdisjoint(each.ins.tolist()) or not mine.isdisjoint(each.outs.tolist())
    ]


def _saved(
    channels: Channels, pixels: dict[str, int], kept: Kept, touching: list[int], going: npt.NDArray[np.intp]
) -> float:
    """Multiply-adds that go with these units, given what has gone already."""
    after = kept.copy()
    after[going] = False
    saved = 0.0
    for number in touching:
        each = channels.convolutions[number]
        saved += (weights_left(each, kept) - weights_left(each, after)) * pixels[each.output]
    return saved
