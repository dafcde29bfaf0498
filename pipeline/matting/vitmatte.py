"""ViTMatte: alpha in a trimap's unknown band by a plain vision transformer that sees photograph and trimap.

Yao et al., ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers, Information Fusion 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.trimap import FOREGROUND, UNKNOWN
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.photo import Alpha, Rgb

MULTIPLE = 32
"""Sides of the input are multiples of this: a patch is 16 px, and windows of patches are halved once."""

LARGEST = 768
"""px, the longest side of the input unless told otherwise."""

_CONTEXT = 64  # px around the band that are shown, too: the network compares the band with what is known
_OVERLAP = 96  # px that neighbouring windows share, over which one passes into the other


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of the photograph that is one input. y0, x0: its corner. height, width: multiples of MULTIPLE, which may
    reach beyond a photograph that is smaller."""

    y0: int
    x0: int
    height: int
    width: int

    @property
    def at(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y0 + self.height), slice(self.x0, self.x0 + self.width)


class VitMatteRefiner:
    """Alpha in a trimap's unknown band; outside it the trimap's 0 and 1.

    A photograph no longer than `largest` is shown whole, as the authors do. Of a larger one the band and some of its
    surroundings are, in overlapping windows of at most `largest` x `largest` px at full resolution; those without
    unknown pixels are not computed. The attention of one window takes heads * (side / 16)^4 * 4 bytes a matrix: 127 MB
    at 768 px with the six heads of the small network, and there are a few of them at once. Beside that, 8 bytes a
    pixel of the photograph.

    card: names input, output and normalisation. largest: px, a multiple of 32, at least 256.
    """

    def __init__(self, card: ModelCard, engine: Engine, *, largest: int = LARGEST) -> None:
        if largest % MULTIPLE or largest < 256:
            raise ValueError(f"largest = {largest}: must be a multiple of {MULTIPLE}, 256 or more")
        self.card = card
        self.device = engine.device
        self._engine = engine
        self._largest = largest

    def __call__(
        self,
        image: Rgb,
        soft: Alpha,
        bands: npt.NDArray[np.uint8],
        where: npt.NDArray[np.bool_] | None = None,
    ) -> Alpha:
        """See `BandRefiner`. The network sees photograph and trimap alone; the mask is only what is not asked for."""
        unknown = bands == UNKNOWN
        matte = np.asarray(np.where(unknown, soft, bands == FOREGROUND), np.float32)
        asked = unknown if where is None else unknown & where
        if not asked.any():
            return matte
        total, weights = np.zeros(matte.shape, np.float32), np.zeros(matte.shape, np.float32)
        for window in _windows(asked, self._largest):
            if not asked[window.at].any():
                continue
            found = self._alpha(image[window.at], bands[window.at], window)
            weight = _weights(*found.shape)
            total[window.at] += found * weight
            weights[window.at] += weight
        np.divide(total, weights, out=matte, where=asked)
        return matte

    def _alpha(self, image: Rgb, bands: npt.NDArray[np.uint8], window: _Window) -> npt.NDArray[np.float32]:
        """Alpha of one window, as large as the part of it that is photograph."""
        contract = self.card.input
        rows, columns = bands.shape
        # What lies beyond the photograph is 0 after the normalisation, in the trimap, too: as it was for the authors.
        tensor = np.zeros((1, 4, window.height, window.width), np.float32)
        scale = 1.0 if contract.divisor is None else 1.0 / contract.divisor
        for channel in range(3):
            plane = tensor[0, channel, :rows, :columns]
            np.multiply(image[..., channel], np.float32(scale / contract.std[channel]), out=plane)
            plane -= np.float32(contract.mean[channel] / contract.std[channel])
        np.multiply(bands, np.float32(1 / 255), out=tensor[0, 3, :rows, :columns])
        (name,) = self.card.output.names
        found = self._engine.run({contract.name: tensor})[name]
        if found.shape != (1, 1, window.height, window.width):
            raise EngineError(
                f"model {self.card.name}: output is {found.shape} for an input of {tensor.shape}: not a ViTMatte"
            )
        return np.clip(found[0, 0, :rows, :columns], 0.0, 1.0)


def _windows(unknown: npt.NDArray[np.bool_], largest: int) -> list[_Window]:
    """Windows that together hold every unknown pixel; one of the whole photograph where that is small enough."""
    rows, columns = unknown.shape
    if max(rows, columns) <= largest:
        return [_Window(0, 0, _up(rows), _up(columns))]
    x, y, width, height = cv2.boundingRect(unknown.view(np.uint8))
    tall, tops = _spans(max(0, y - _CONTEXT), min(rows, y + height + _CONTEXT), rows, largest)
    wide, lefts = _spans(max(0, x - _CONTEXT), min(columns, x + width + _CONTEXT), columns, largest)
    return [_Window(top, left, tall, wide) for top in tops for left in lefts]


def _spans(low: int, high: int, length: int, largest: int) -> tuple[int, list[int]]:
    """(size, starts) of equal spans over low..high of a side of `length` px, each overlapping the next."""
    size = min(largest, _up(high - low))
    if high - low <= size:
        # Moved rather than padded where there is room.
        return size, [max(0, min(low, length - size))]
    count = -(-(high - low - _OVERLAP) // (size - _OVERLAP))
    step = (high - low - size) / (count - 1)
    return size, [low + round(number * step) for number in range(count)]


def _up(length: int) -> int:
    return -(-length // MULTIPLE) * MULTIPLE


def _weights(rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Weights of a window's pixels, falling to nearly nothing at its edges; only ratios to a neighbour's count."""
    down, across = (
        np.minimum(1.0, (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / _OVERLAP).astype(np.float32)
        for side in (rows, columns)
    )
    return np.asarray(down[:, None] * across[None, :], np.float32)
