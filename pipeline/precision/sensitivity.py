"""What each layer costs: the network with this one layer in low precision, against the network as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.saliency import from_logits, normalised
from mattemill.pipeline.precision.calibration import Floats, session
from mattemill.pipeline.precision.graph import Graph

_IN = 128  # of 255: from here on a pixel of a map is in


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer in low precision, all others as they were, over the calibration photographs.

    iou: of its map with the network's own, mean, 0..1. error: mean absolute difference of the maps, 0..1. weights:
    how many numbers the layer has.
    """

    layer: str
    iou: float
    error: float
    weights: int


def sensitivity(
    card: ModelCard,
    graph: Graph,
    layers: Sequence[str],
    alone: Callable[[str], Graph],
    inputs: Sequence[Floats],
    on_done: Callable[[int, int], None] | None = None,
) -> tuple[LayerCost, ...]:
    """The cost of the layers of these names, the worst first.

    alone: the network with only the layer of this name in low precision. inputs: float32 (1, c, h, w), a few. Raises
    EngineError.
    """
    own = maps(card, graph, inputs)
    found = []
    by_name = {layer.name: layer for layer in graph.layers}
    for done, layer in enumerate((by_name[name] for name in layers), 1):
        other = maps(card, alone(layer.name), inputs)
        found.append(
            LayerCost(
                layer.name,
                float(np.mean([_iou(a, b) for a, b in zip(own, other, strict=True)])),
                float(np.mean([_error(a, b) for a, b in zip(own, other, strict=True)])),
                int(graph.values[layer.weight].size),
            )
        )
        if on_done is not None:
            on_done(done, len(layers))
    return tuple(sorted(found, key=lambda cost: (-cost.error, cost.layer)))


def maps(card: ModelCard, graph: Graph, inputs: Sequence[Floats]) -> list[npt.NDArray[np.uint8]]:
    """The network's maps, uint8 (h, w), as the saliency families read its first output."""
    running = session(graph.to_bytes())
    read = from_logits if card.output.values == "logits" else normalised
    raws = [running.run([card.output.names[0]], {card.input.name: given})[0] for given in inputs]
    return [read(np.asarray(raw, np.float32).reshape(raw.shape[-2:])).mask for raw in raws]


def _iou(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    either = np.count_nonzero((a >= _IN) | (b >= _IN))
    return float(np.count_nonzero((a >= _IN) & (b >= _IN)) / either) if either else 1.0


def _error(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(np.float32) - b.astype(np.float32)).mean() / 255)
