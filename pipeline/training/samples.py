"""Training samples from a seed: synthetic composites with exact alpha, and the trimaps and masks that come with them.

A sample is a function of (seed, size, index), of this code and of the photographs that are installed (see
`photographs.py`), whatever the order and the process in which it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.kernels.closed_form import closed_form_matte
from mattemill.kernels.trimap import UNKNOWN
from mattemill.pipeline.training import priors
from mattemill.pipeline.training.camera import photographed
from mattemill.pipeline.training.composites import Composite, composite
from mattemill.pipeline.training.sample import Sample

LEAST_UNKNOWN, MOST_UNKNOWN = 0.01, 0.9
"""Share of unknown pixels in a sample's trimap."""

_TRIES = 8
_SAMPLES = 0  # second word of a seed
_DRAWN, _MASKED = 0.45, 0.90  # cumulated: trimap from the truth, from a mask, from a wrong mask
_CLOSED_STEPS = (2, 4)
_LINEAR = 0.04  # share of composites whose light was added up before the tone curve


def sample_maker(seed: int, size: int) -> Callable[[int], Sample]:
    """What makes sample number `index` of a seed; picklable. size: the samples' side in pixels."""
    return Maker(seed, size)


@dataclass(frozen=True, slots=True)
class Maker:
    """index -> Sample; kind: one kind of foreground only, for a look at it."""

    seed: int
    size: int
    kind: str | None = None

    def __call__(self, index: int) -> Sample:
        """Tries again, from new random numbers, where a trimap leaves too little or too much unknown."""
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self.seed, _SAMPLES, index, attempt])
            made = composite(self.seed, rng, index, self.size, self.kind)
            marks, prior = _marks(rng, made)
            share = float((marks == UNKNOWN).mean())
            if LEAST_UNKNOWN <= share <= MOST_UNKNOWN:
                break
        else:
            marks = _middle(marks)
            prior = np.where(marks == UNKNOWN, np.uint8(UNKNOWN), marks)
        photo = photographed(rng, _in_linear_light(made) if rng.random() < _LINEAR else made.exact())
        # Solved at a half or a quarter of what the network sees, so that it may be given either.
        closed = closed_form_matte(photo, marks, step=int(rng.choice(_CLOSED_STEPS)))
        closed_bytes = np.asarray(closed * 255 + 0.5, np.uint8)
        return Sample(photo, made.alpha, made.front, made.back, marks, prior, closed_bytes)


def _marks(rng: np.random.Generator, made: Composite) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Trimap and prior."""
    choice = rng.random()
    if choice < _DRAWN:
        marks = priors.drawn_trimap(rng, made.alpha)
        if rng.random() < 0.7:
            return marks, priors.without_mask(marks)
        return marks, priors.network_mask(rng, made.alpha, made.soft)
    spoilt = priors.network_mask if choice < _MASKED else priors.wrong_mask
    prior = spoilt(rng, made.alpha, made.soft)
    return priors.mask_trimap(rng, prior), prior


def _middle(marks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Unknown in the middle half only: the way out when no try gave a usable trimap. What is known stays."""
    out = np.where(marks == UNKNOWN, np.uint8(0), marks)
    quarter = marks.shape[0] // 4
    out[quarter:-quarter, quarter:-quarter] = UNKNOWN
    return out


def _in_linear_light(made: Composite) -> npt.NDArray[np.float32]:
    """The composite as light adds up: float32 (S, S, 3) in 0..255, with a power of 2.2 for sRGB's curve."""
    share = made.alpha[..., None].astype(np.float32) / 255
    front, back = ((part.astype(np.float32) / 255) ** 2.2 for part in (made.front, made.back))
    return np.asarray(255 * (share * front + (1 - share) * back) ** (1 / 2.2), np.float32)
