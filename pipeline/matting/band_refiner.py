"""What finds alpha in a trimap's unknown band, from photograph and mask."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.photo import Alpha, Rgb


class BandRefiner(Protocol):
    """Alpha in the unknown band of a trimap; outside it the trimap's 0 and 1."""

    def __call__(
        self, image: Rgb, soft: Alpha, bands: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_] | None = None
    ) -> Alpha:
        """A matte, float32 (H, W) in 0..1. image: uint8 (H, W, 3). soft: float32 (H, W), the mask.

        bands: uint8 (H, W), a trimap of 0, 128 and 255. where: bool (H, W), the part of the band that is asked for; in
        the rest of it the matte may be the mask. None = all of it. Raises EngineError.
        """
