"""What travels between the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.images.encode import png_of_rows

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of the photograph as shown; x1, y1 exclusive."""


@dataclass(frozen=True, slots=True)
class Detection:
    """The subjects of a photograph, best first; never empty (no subject is a `Failure`).

    boxes: tight, in pixels as shown. scores: 0..1, one a box.
    saliency: uint8 (h, w) full-frame soft map at the network's resolution, or None when the detector has none.
    peak, floor: 0..1, the raw values that 255 and 0 of it stand for.
    """

    boxes: tuple[Box, ...]
    scores: tuple[float, ...]
    saliency: npt.NDArray[np.uint8] | None = None
    peak: float = 1.0
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class CropMask:
    """The soft mask of one crop.

    window: integer (x0, y0, x1, y1) of the crop in pixels as shown, inside the photograph.
    mask: uint8 (h, w) at the network's resolution, 0..255; to be resized to the window.
    evidence: what the looks behind it said of each other, for the score.
    """

    window: tuple[int, int, int, int]
    mask: npt.NDArray[np.uint8]
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """A finished cut, not yet encoded.

    pixels: uint8 (H, W) alpha, (H, W, 4) unpremultiplied RGBA, or (H, W, 3) composite, at the size as shown, or at
    that of the canvas when the job has one.
    """

    pixels: npt.NDArray[np.uint8]
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceCut:
    """A finished cut, filtered for PNG on the device.

    rows: uint8 (H, 1 + W * C), see `kernels.png_up`. shape: (H, W) or (H, W, C) of the pixels.
    """

    rows: npt.NDArray[np.uint8]
    shape: tuple[int, ...]
    scores: Mapping[str, float] = field(default_factory=dict)

    def png(self) -> bytes:
        """The file: only deflated here."""
        return png_of_rows(self.rows, self.shape)


@dataclass(frozen=True, slots=True)
class Stored:
    """A written output: its key in the sink, its encoded size in bytes, its width and height in pixels."""

    output_key: str
    output_bytes: int
    output_width: int | None = None
    output_height: int | None = None
