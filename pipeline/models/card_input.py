"""A photograph as the tensor that a card's network reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from mattemill.kernels.network_input import Resample, network_input
from mattemill.pipeline.models.card import InputContract
from mattemill.pipeline.photo import Rgb


def card_input(image: Rgb, contract: InputContract) -> npt.NDArray[np.float32]:
    """float32 (1, 3, h, w), C-contiguous, for a card whose fit is 'stretch'. image: uint8 (H, W, 3) RGB."""
    height, width = contract.size
    resample: Resample = "area"
    if contract.resample == "bilinear":
        # Resized here, and of the right size for what follows: the kernel has no such filter.
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    else:
        resample = contract.resample
    return network_input(
        image,
        contract.size,
        divisor=contract.divisor,
        mean=contract.mean,
        std=contract.std,
        bgr=contract.bgr,
        resample=resample,
    )
