"""The one interface behind which networks run: ONNX Runtime on a CPU, TensorRT on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Engine(Protocol):
    """A loaded network on one device.

    device: 'cpu' or 'cuda:N': where it really runs.
    batch_limit: how many images one call may hold (1 where batching gains nothing).
    """

    device: str
    batch_limit: int

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
        """One forward pass. Arrays are C-contiguous float32; names are those of the model's card.

        Raises EngineError naming the model when the network fails or returns something not finite.
        """
