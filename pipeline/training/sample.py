"""One training sample: a photograph whose matte is known exactly, with what a segmentation would have said of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """A square composite of side S and its truth.

    photo: uint8 (S, S, 3) RGB, as a camera gives it. alpha: uint8 (S, S), the true alpha times 255.
    front, back: uint8 (S, S, 3), colours with photo ~ alpha * front + (1 - alpha) * back (camera effects aside).
    trimap: uint8 (S, S) of 0 (background), 128 (unknown), 255 (foreground); may be wrong, as those of a bad
    segmentation are. prior: uint8 (S, S), the soft mask that the trimap came from, times 255; 128 all over the unknown
    band where there was no mask. closed: uint8 (S, S), the closed-form matte of photo and trimap, solved on a small
    copy, times 255.
    """

    photo: Bytes
    alpha: Bytes
    front: Bytes
    back: Bytes
    trimap: Bytes
    prior: Bytes
    closed: Bytes
