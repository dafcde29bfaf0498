"""A saliency network that looks at pictures on the device."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.network_input import network_input
from mattemill.kernels.network_input import Resample
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.recipe import Shape
from mattemill.pipeline.errors import ConfigError, EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.saliency import SaliencyMap, from_logits, normalised
from mattemill.pipeline.photo import Rgb

Tensor = npt.NDArray[np.float32]


class DeviceEngine(Protocol):
    """A loaded network that runs on memory of the device; `TensorRtEngine` is one, `HostMemoryEngine` another."""

    device: str
    batch_limit: int

    def output_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of the outputs for shapes of the inputs. Raises EngineError."""

    def enqueue(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        """Put one pass into the stream; addresses of all inputs and outputs, float32. Raises EngineError."""


class HostMemoryEngine:
    """Another engine over the CPU driver's memory, which is the host's: for tests, and to look at the chain's steps.

    outputs: shape of one image's output by name, or what says it for the shapes of the inputs.
    """

    def __init__(
        self, inner: Engine, outputs: Mapping[str, Shape] | Callable[[Mapping[str, Shape]], Mapping[str, Shape]]
    ) -> None:
        self._inner = inner
        self._outputs = outputs
        self.device, self.batch_limit = inner.device, inner.batch_limit

    def output_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        count = next(iter(shapes.values()))[0]
        outputs = self._outputs(shapes) if callable(self._outputs) else self._outputs
        return {name: (count, *shape) for name, shape in outputs.items()}

    def enqueue(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        results = self._inner.run({name: _at(addresses[name], shape) for name, shape in shapes.items()})
        for name, shape in self.output_shapes(shapes).items():
            np.copyto(_at(addresses[name], shape), results[name].reshape(shape))


class DeviceNetwork:
    """As `SaliencyNetwork`, for pictures on the device; what comes back are maps of the network's own size.

    It is a `BatchNetwork` whose images and tensors are `DeviceArray`s: uint8 (H, W, 3), made one tensor in one go for
    a whole run. device: whose stream the engine runs in. Raises ConfigError where the card's resizing has no kernel.
    """

    def __init__(self, card: ModelCard, engine: DeviceEngine, device: Device) -> None:
        if card.input.resample == "bilinear":
            raise ConfigError(f"model {card.name}: its bilinear resizing has no kernel; leave the device chain off")
        self.card = card
        self.device = engine.device
        self.batch_limit = engine.batch_limit
        self._engine = engine
        self._on = device

    def __call__(self, image: Rgb) -> SaliencyMap:
        """One pass. Raises EngineError."""
        return self.look([self.tensor(image)])[0]

    def tensor(self, image: Rgb) -> Tensor:
        """The picture itself: it becomes a tensor together with the others of its run."""
        return cast(Tensor, image)

    def look(self, tensors: Sequence[Tensor]) -> list[SaliencyMap]:
        """One pass over several pictures. Raises EngineError when it fails or a map is not finite."""
        contract, (output, *_) = self.card.input, self.card.output.names
        pictures = cast(Sequence[DeviceArray], tensors)
        given = network_input(
            self._on,
            pictures,
            contract.size,
            divisor=contract.divisor,
            mean=contract.mean,
            std=contract.std,
            bgr=contract.bgr,
            resample=cast(Resample, contract.resample),
        )
        shapes = {contract.name: given.shape}
        found = {name: self._on.empty(shape, np.float32) for name, shape in self._engine.output_shapes(shapes).items()}
        addresses = {contract.name: given.pointer} | {name: array.pointer for name, array in found.items()}
        self._engine.enqueue(shapes, addresses)
        raw = self._on.download(found[output])
        if raw.size != len(pictures) * math.prod(contract.size):
            raise EngineError(f"model {self.card.name}: output is {raw.shape}, not of {contract.size} an image")
        if not np.isfinite(raw).all():
            raise EngineError(f"model {self.card.name}: output {output} is not finite on {self.device}")
        read = from_logits if self.card.output.values == "logits" else normalised
        return [read(one) for one in raw.reshape(len(pictures), *contract.size)]


def _at(address: int, shape: Shape) -> npt.NDArray[Any]:
    """float32 of the host's memory."""
    flat = (ctypes.c_float * math.prod(shape)).from_address(address)
    return np.ctypeslib.as_array(flat).reshape(shape)
