"""A small network of u2netp's contract that finds bright discs, and photographs of such discs with their masks.

Its layer 'bad' has a weight so far out, on a channel that is next to nothing, that eight bits lose all its others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.precision import search
from mattemill.pipeline.precision.calibration import Activations
from mattemill.pipeline.precision.graph import Graph
from mattemill.pipeline.precision.qdq import Recipe

MakeNetwork = Callable[..., Path]


@pytest.fixture
def card() -> ModelCard:
    return card_of("u2netp")


@pytest.fixture
def make_network(tmp_path: Path) -> MakeNetwork:
    """make_network(outlier=..., constant=...) -> the file. constant: of a channel that never varies."""
    onnx = pytest.importorskip("onnx", reason="the onnx package makes the network")

    def make(outlier: float = 0.0, constant: float = 0.0) -> Path:
        rng = np.random.default_rng(5)
        numbers = {}

        def conv(name: str, given: str, made: str, weight: np.ndarray, bias: np.ndarray) -> object:
            numbers[f"{name}.w"], numbers[f"{name}.b"] = weight.astype(np.float32), bias.astype(np.float32)
            pad = weight.shape[-1] // 2
            return onnx.helper.make_node(
                "Conv",
                [given, f"{name}.w", f"{name}.b"],
                [made],
                name=name,
                pads=[pad] * 4,
                kernel_shape=[pad * 2 + 1] * 2,
            )

        node = onnx.helper.make_node
        first = rng.normal(0, 0.02, (8, 3, 3, 3))
        first[0] = 1 / 27  # brightness
        first[1] = 1e-7  # next to nothing
        second = rng.normal(0, 0.02, (8, 8, 3, 3))
        second[0, 0, 1, 1] = 1.0
        second[7] = 0.0
        bad = rng.normal(0, 0.02, (8, 16, 1, 1))
        bad[0, 0], bad[0, 8], bad[0, 1] = 0.5, 0.5, outlier
        bad[:, 15] = -1.0 if constant else 0.0
        steady = np.zeros(8)
        steady[7] = constant
        last = np.zeros((1, 8, 1, 1))
        last[0, 0] = 6.0
        nodes = [
            conv("first", "input.1", "a", first, np.where(np.arange(8) == 0, 2.0, 0.0)),
            node("Relu", ["a"], ["ar"]),
            node("MaxPool", ["ar"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
            conv("second", "pooled", "b", second, steady),
            node("Relu", ["b"], ["br"]),
            node("Resize", ["br", "", "scales"], ["wide"], mode="linear", coordinate_transformation_mode="half_pixel"),
            node("Concat", ["ar", "wide"], ["joined"], axis=1),
            conv("bad", "joined", "c", bad, np.full(8, constant)),
            node("Relu", ["c"], ["cr"]),
            conv("last", "cr", "d", last, np.array([-18.0])),
            node("Sigmoid", ["d"], ["1959"]),
        ]
        numbers["scales"] = np.array([1, 1, 2, 2], np.float32)
        value = onnx.helper.make_tensor_value_info
        kind = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            nodes,
            "discs",
            [value("input.1", kind, [1, 3, 320, 320])],
            [value("1959", kind, [1, 1, 320, 320])],
            [onnx.numpy_helper.from_array(each, name) for name, each in numbers.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        path = tmp_path / f"discs-{outlier:g}-{constant:g}.onnx"
        onnx.save(model, str(path))
        return path

    return make


@pytest.fixture
def bad_in_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bits lose the layer 'bad' whatever the recipe: its weights become 0 unless it stays in float32."""
    real = search.quantised

    def quantised(graph: Graph, seen: Activations, recipe: Recipe, kept: Collection[str] = ()) -> Graph:
        if "bad" not in kept:
            graph = graph.changed({"bad.w": np.zeros_like(graph.values["bad.w"])})
        return real(graph, seen, recipe, kept)

    monkeypatch.setattr(search, "quantised", quantised)


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """A set of eight photographs, 160 px, with mask/."""
    return make_set(tmp_path / "discs", 8)


def make_set(folder: Path, count: int, first: int = 0) -> Path:
    (folder / "image").mkdir(parents=True)
    (folder / "mask").mkdir()
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:160, :160]
        inside = (x - rng.integers(60, 100)) ** 2 + (y - rng.integers(60, 100)) ** 2 < rng.integers(25, 45) ** 2
        grey = np.where(inside, 235, 25)[..., None] + rng.integers(-20, 21, (160, 160, 3))
        Image.fromarray(grey.astype(np.uint8)).save(folder / "image" / f"{number:03}.png")
        Image.fromarray((inside * 255).astype(np.uint8)).save(folder / "mask" / f"{number:03}.png")
    return folder
