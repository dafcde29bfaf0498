"""What a stage's work on one image asks of the networks, apart from when they answer: for it alone, or for many.

The work is a generator: it yields an `Ask` wherever it needs a network's look, and gets the `SaliencyMap` back. It
reads as if the network were called there; `together.run_together` runs many of them side by side.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window, crop
from mattemill.kernels.cuda.device import DeviceArray
from mattemill.pipeline.models.saliency import SaliencyMap
from mattemill.pipeline.photo import Rgb

Result = TypeVar("Result")


class Network(Protocol):
    """Looks at one image at a time."""

    def __call__(self, image: Rgb) -> SaliencyMap:
        """Of uint8 (H, W, 3). Raises EngineError."""


@runtime_checkable
class BatchNetwork(Protocol):
    """Looks at up to `batch_limit` images at once; see `models.saliency.SaliencyNetwork`."""

    batch_limit: int

    def tensor(self, image: Rgb) -> npt.NDArray[np.float32]:
        """What the network reads of uint8 (H, W, 3)."""

    def look(self, tensors: Sequence[npt.NDArray[np.float32]]) -> list[SaliencyMap]:
        """One map a tensor. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A look of a network at uint8 (H, W, 3), or at a window (x0, y0, x1, y1) of it, is needed.

    In the device chain the image is a `DeviceArray`, whose windows are views as well.
    """

    network: Network
    image: Rgb | DeviceArray
    window: Window | None = None

    @property
    def pixels(self) -> Rgb:
        """What the network is to look at, without a copy."""
        if isinstance(self.image, DeviceArray):
            return cast(Rgb, self.image if self.window is None else self.image.window(*self.window))
        return self.image if self.window is None else crop(self.image, self.window)


Asking = Generator[Ask, SaliencyMap, Result]
"""Work on one image that asks for looks and ends with its result."""


def answered(work: Asking[Result]) -> Result:
    """The result of one work by itself, each of its asks answered at once. Raises what the networks and the work do."""
    try:
        ask = next(work)
        while True:
            ask = work.send(ask.network(ask.pixels))
    except StopIteration as ended:
        result: Result = ended.value
        return result
