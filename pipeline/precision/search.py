"""From a network to one of lower precision that passes the gate, with as few layers as need be left as they were."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from mattemill.pipeline.evaluation.datasets import Example
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.precision.calibration import Activation, Floats, calibrate
from mattemill.pipeline.precision.constant_channels import Moved, move_constants
from mattemill.pipeline.precision.equalise import equalise
from mattemill.pipeline.precision.gate import PhotoScores, Verdict, judge, measure, read_rgb
from mattemill.pipeline.precision.graph import OPSET, OPSET_FP8, Graph, read_graph
from mattemill.pipeline.precision.half import halved
from mattemill.pipeline.precision.light import light_layers
from mattemill.pipeline.precision.pixels import reading_pixels
from mattemill.pipeline.precision.qdq import Recipe, plan_of, quantised
from mattemill.pipeline.precision.sensitivity import LayerCost, sensitivity

Precision = Literal["fp16", "fp8", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp16", "fp8", "int8")

FEW = 3
"""Calibration photographs on which the layers are told apart."""

Tell = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, of how much)."""


@dataclass(frozen=True, slots=True)
class Try:
    """One candidate and what the gate said of it. kept: names of the layers that it has in the old precision."""

    kept: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search.

    file: the network that passed, None when none did. tries: in order; the last one passed when there is a file.
    costs: of each layer, the worst first; empty when the first try passed, as none was asked for. light: layers that
    stayed in the old precision because they make next to no multiplications. layers: how many others there are.
    """

    file: bytes | None
    tries: tuple[Try, ...]
    costs: tuple[LayerCost, ...]
    moved: tuple[Moved, ...]
    light: tuple[str, ...]
    layers: int

    @property
    def kept(self) -> tuple[str, ...]:
        """Of the last try."""
        return self.tries[-1].kept


@dataclass(frozen=True)
class Candidates:
    """Networks of lower precision made of one file, any of its layers left as they were.

    inputs: of the calibration, float32 (1, c, h, w). recipe: of eight bits; fp16 has none. Raises ModelError,
    EngineError, ValueError without inputs.
    """

    card: ModelCard
    path: Path
    to: Precision
    inputs: Sequence[Floats]
    recipe: Recipe = field(default_factory=Recipe)
    tell: Tell = lambda what, done, of: None

    @cached_property
    def graph(self) -> Graph:
        """The network in float32, its steady channels moved where the recipe wants it."""
        return self._prepared[0]

    @property
    def moved(self) -> tuple[Moved, ...]:
        """The channels that were moved."""
        return self._prepared[1]

    @cached_property
    def light(self) -> tuple[str, ...]:
        """Names of the layers that stay in float32 in every candidate."""
        return () if self.to == "fp16" else light_layers(self.graph, self.recipe.light)

    @property
    def lowered(self) -> tuple[str, ...]:
        """Names of the layers that are in low precision when none is kept."""
        return tuple(layer.name for layer in self.graph.layers if layer.name not in set(self.light))

    def make(self, kept: Sequence[str] = ()) -> Graph:
        """The candidate with these layers in float32, besides the light ones."""
        if self.to == "fp16":
            return halved(self.graph, kept)
        return quantised(self.graph, self._seen, self.recipe, {*kept, *self.light})

    def alone(self, layer: str) -> Graph:
        """The network with only this layer in low precision."""
        return self.make([name for name in self.lowered if name != layer])

    def costs(self) -> tuple[LayerCost, ...]:
        """What each layer but the light ones costs on the first few calibration inputs, the worst first."""
        few = self.inputs[:FEW]
        return sensitivity(
            self.card, self.graph, self.lowered, self.alone, few, lambda done, of: self.tell("layers", done, of)
        )

    @cached_property
    def _prepared(self) -> tuple[Graph, tuple[Moved, ...]]:
        graph = read_graph(self.path, self.card.output.names[:1], OPSET_FP8 if self.to == "fp8" else OPSET)
        moved: tuple[Moved, ...] = ()
        if self.to == "fp16":
            return graph, moved
        if self.recipe.pixels and self.to == "int8":
            graph = reading_pixels(graph, self.card.input.mean, self.card.input.std)
        outputs = [layer.output for layer in graph.layers]
        if self.recipe.move_constants:
            graph, moved = move_constants(graph, self._calibrated(graph, outputs))
        if self.recipe.equalise:
            graph = equalise(graph, self._calibrated(graph, outputs))
        return graph, moved

    @cached_property
    def _seen(self) -> dict[str, Activation]:
        everything = set(plan_of(self.graph, ()).tensors) | {layer.input for layer in self.graph.layers}
        return self._calibrated(self.graph, sorted(everything))

    def _calibrated(self, graph: Graph, tensors: Sequence[str]) -> dict[str, Activation]:
        return calibrate(graph, tensors, self.inputs, lambda done, of: self.tell("calibration", done, of))


def calibration_inputs(card: ModelCard, photographs: Sequence[Path]) -> list[Floats]:
    """What the network reads of these photographs. Raises UsageError that names one that cannot be used."""
    return [card_input(read_rgb(path), card.input) for path in photographs]


def search(
    candidates: Candidates,
    examples: Sequence[Example],
    *,
    tolerance: float,
    keep: float,
    base: Sequence[PhotoScores] | None = None,
) -> Found:
    """Try the whole network in low precision; while the gate refuses, leave 1, 2, 4.. of the worst layers as they were.

    tolerance: of the gate. keep: share of the layers that may stay, 0..1; 0 = none, else at least one. base: scores of
    the file as it is, when they are known. Raises UsageError, ModelError, EngineError.
    """
    card, tell = candidates.card, candidates.tell
    if base is None:
        base = measure(card, candidates.path, examples, on_done=lambda done, of: tell("the network as it is", done, of))
    tries: list[Try] = []
    costs: tuple[LayerCost, ...] = ()
    layers = len(candidates.lowered)
    for count in (0, *_doubling(_budget(keep, layers))):
        if count and not costs:
            costs = candidates.costs()
        kept = tuple(cost.layer for cost in costs[:count])
        data = candidates.make(kept).to_bytes()
        verdict = judge(base, _measured(card, data, examples, tell), tolerance)
        tries.append(Try(kept, verdict))
        if verdict.passed:
            return Found(data, tuple(tries), costs, candidates.moved, candidates.light, layers)
    costs = costs or candidates.costs()
    return Found(None, tuple(tries), costs, candidates.moved, candidates.light, layers)


def _budget(keep: float, layers: int) -> int:
    return max(1, int(keep * layers)) if keep > 0 else 0


def _doubling(most: int) -> list[int]:
    counts = []
    count = 1
    while count < most:
        counts.append(count)
        count *= 2
    return [*counts, most] if most else []


def _measured(card: ModelCard, data: bytes, examples: Sequence[Example], tell: Tell) -> tuple[PhotoScores, ...]:
    with tempfile.TemporaryDirectory(prefix="mattemill-") as folder:
        path = Path(folder) / "candidate.onnx"
        path.write_bytes(data)
        return measure(card, path, examples, on_done=lambda done, of: tell("the candidate", done, of))
