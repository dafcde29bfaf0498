"""The saliency families (U2-Net, IS-Net, BiRefNet): a photograph or a crop in, a soft map of what stands out.

Qin et al., U2-Net, Pattern Recognition 2020; Qin et al., Highly Accurate Dichotomous Image Segmentation, ECCV 2022;
Zheng et al., Bilateral Reference for High-Resolution Dichotomous Image Segmentation, CAAI AIR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.photo import Rgb


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """What the network says of one image.

    mask: uint8 (h, w) at the network's resolution, 0..255; min-max normalised unless the network gives logits.
    peak, floor: the largest and smallest raw value 0..1, before the normalisation: a normalised map of an image
    without a subject looks like any other, its raw peak does not.
    """

    mask: npt.NDArray[np.uint8]
    peak: float
    floor: float


class SaliencyNetwork:
    """A saliency network behind its engine; the card says how an image becomes its input."""

    def __init__(self, card: ModelCard, engine: Engine) -> None:
        self.card = card
        self._engine = engine
        self.device = engine.device
        self.batch_limit = engine.batch_limit

    def __call__(self, image: Rgb) -> SaliencyMap:
        """One pass over uint8 (H, W, 3), stretched to the network's input.

        Raises EngineError when the network fails.
        """
        return self.look([self.tensor(image)])[0]

    def tensor(self, image: Rgb) -> npt.NDArray[np.float32]:
        """What the network reads of uint8 (H, W, 3): float32 (1, 3, h, w)."""
        return card_input(image, self.card.input)

    def look(self, tensors: Sequence[npt.NDArray[np.float32]]) -> list[SaliencyMap]:
        """One pass over the tensors of several images, at least one; at most `batch_limit` are worth it.

        Raises EngineError when the network fails, for one of them or for all.
        """
        contract, count = self.card.input, len(tensors)
        batch = tensors[0] if count == 1 else np.concatenate(tensors)
        raw = self._engine.run({contract.name: batch})[self.card.output.names[0]]
        if raw.size != count * contract.size[0] * contract.size[1] or raw.shape[-2:] != contract.size:
            raise EngineError(
                f"model {self.card.name}: output is {raw.shape}, not {(count, 1, *contract.size)}: "
                "the file is another network, or one for another size"
            )
        read = from_logits if self.card.output.values == "logits" else normalised
        return [read(one) for one in raw.reshape(count, *contract.size)]


def normalised(raw: npt.NDArray[np.float32]) -> SaliencyMap:
    """Min-max normalise a raw map, float32 (h, w); a flat one becomes all zeros."""
    floor, peak = float(raw.min()), float(raw.max())
    spread = peak - floor
    if spread <= 1e-6:
        return SaliencyMap(np.zeros(raw.shape, np.uint8), peak, floor)
    scaled = (raw - np.float32(floor)) * np.float32(255.0 / spread) + np.float32(0.5)
    return SaliencyMap(scaled.astype(np.uint8), peak, floor)


def from_logits(raw: npt.NDArray[np.float32]) -> SaliencyMap:
    """The sigmoid of a raw map, float32 (h, w), in any range; not stretched."""
    # The same as 1 / (1 + exp(-x)), and does not overflow.
    soft = np.tanh(raw * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)
    scaled = soft * np.float32(255) + np.float32(0.5)
    return SaliencyMap(scaled.astype(np.uint8), float(soft.max()), float(soft.min()))
