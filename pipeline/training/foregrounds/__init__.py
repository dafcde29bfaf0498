"""Procedural foregrounds with exact alpha: each kind is `make(rng, size) -> Layer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mattemill.pipeline.training.foregrounds import fur, hair, lettering, plants, solid, threads, translucent
from mattemill.pipeline.training.layer import Layer


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of foreground and how often it comes, against the others.

    soft: there is no surely opaque subject; a segmentation says anything of it.
    """

    name: str
    make: Callable[[np.random.Generator, int], Layer]
    weight: int
    soft: bool = False


KINDS: tuple[Kind, ...] = (
    Kind("hair", hair.make, 18),
    Kind("tuft", hair.tuft, 6),
    Kind("fur", fur.make, 16),
    Kind("solid", solid.make, 14),
    Kind("cloth", solid.cloth, 5),
    Kind("furniture", solid.furniture, 7),
    Kind("lace", threads.lace, 5),
    Kind("net", threads.net, 6),
    Kind("chain", threads.chain, 3),
    Kind("smoke", translucent.smoke, 4, soft=True),
    Kind("veil", translucent.veil, 4, soft=True),
    Kind("glass", translucent.glass, 6, soft=True),
    Kind("splash", translucent.splash, 2, soft=True),
    Kind("branch", plants.branch, 5),
    Kind("grasses", plants.grasses, 2),
    Kind("feather", plants.feather, 4),
    Kind("flower", plants.flower, 4),
    Kind("lettering", lettering.make, 2),
)
"""Weights add up to 113; hair and fur come most, being what users pay for and what a matte is judged by."""
