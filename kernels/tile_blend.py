"""Tiles of a matte that pass into each other: each is written with weights that fall to nearly nothing at its edge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window

Plane = npt.NDArray[np.float32]


def blend_tile(
    matte: Plane,
    written: npt.NDArray[np.uint8],
    found: Plane,
    unknown: npt.NDArray[np.bool_],
    weight: Plane,
) -> None:
    """Write one tile into a part of a matte, in place: alone where nothing was written, else in the weights' ratio.

    matte, found, weight: float32 (h, w). unknown: bool (h, w), where it may be written. written: uint8 (h, w), the
    largest weight so far, 0..255; only where tiles pass into each other is it more than one.
    """
    before = written.astype(np.float32) / 255
    share = weight / (weight + before)
    mixed = found * share + matte * (1 - share)
    np.copyto(matte, mixed, where=unknown)
    written[:] = np.maximum(written, (weight * 255).astype(np.uint8))


def ramp(inner: Window, wide: Window, blend: int) -> Plane:
    """Weights of `wide`, float32 (h, w): 1 inside `inner` less the blend, falling linearly to its edge, to 1 / 255.

    inner: in `wide`, which reaches `blend` pixels further, but not beyond the frame: there it ends without a fall.
    """
    across = _ramp_along(wide[2] - wide[0], inner[0] - wide[0], wide[2] - inner[2], blend)
    down = _ramp_along(wide[3] - wide[1], inner[1] - wide[1], wide[3] - inner[3], blend)
    return np.asarray(np.minimum(down[:, None], across[None, :]), np.float32)


def _ramp_along(length: int, before: int, after: int, blend: int) -> Plane:
    along = np.ones(length, np.float32)
    at = np.arange(length)
    if before:
        along = np.minimum(along, (at + 0.5) / (2 * blend))
    if after:
        along = np.minimum(along, (length - at - 0.5) / (2 * blend))
    return np.asarray(np.clip(along, 1 / 255, 1), np.float32)
