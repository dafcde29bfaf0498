"""What engines are built from: files whose nodes are out of order, and files that are in half precision already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, EngineRecipe, Precision

onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")


def _recipe(precision: Precision) -> EngineRecipe:
    return EngineRecipe("tensorrt", "halves", "0" * 64, ("out",), (), precision, (), (), 3, 1 << 30)


def _write(path: Path, order: list[int]) -> Path:
    """A network in half precision between casts named as the converter names its own; its nodes in the given order."""
    helper = onnx.helper
    weights = onnx.numpy_helper.from_array(np.full((2, 3, 1, 1), 0.25, np.float16), "w")
    nodes: list[Any] = [
        helper.make_node("Cast", ["in"], ["graph_input_cast_0"], name="graph_input_cast0", to=10),
        helper.make_node("Conv", ["graph_input_cast_0", "w"], ["wide"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["wide"], ["graph_output_cast_0"]),
        helper.make_node("Cast", ["graph_output_cast_0"], ["out"], name="graph_output_cast0", to=1),
        helper.make_node("Neg", ["wide"], ["unused"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [nodes[i] for i in order],
        "halves",
        [value("in", 1, [1, 3, 4, 5])],
        [value("out", 1, [1, 2, 4, 5]), value("unused", 10, [1, 2, 4, 5])],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 2, 4, 1, 0], [2, 0, 3, 1, 4]])
def test_nodes_in_any_order_are_kept_sorted_and_only_those_that_are_needed(
    order: list[int], precision: Precision, tmp_path: Path
) -> None:
    made = onnx.load_from_string(prepare(_write(tmp_path / "halves.onnx", order), _recipe(precision)))
    assert [node.op_type for node in made.graph.node] == ["Cast", "Conv", "Sigmoid", "Cast"]
    onnx.checker.check_model(made, full_check=True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_that_is_in_half_precision_already_stays_as_it_is(precision: Precision, tmp_path: Path) -> None:
    path = _write(tmp_path / "halves.onnx", [3, 0, 2, 1, 4])
    rewritten = tmp_path / "rewritten.onnx"
    rewritten.write_bytes(prepare(path, _recipe(precision)))
    given = {"in": np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)}
    wanted = OnnxRuntimeEngine(path, outputs=["out"]).run(given)["out"]
    np.testing.assert_array_equal(OnnxRuntimeEngine(rewritten).run(given)["out"], wanted)
