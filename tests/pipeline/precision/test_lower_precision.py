"""Networks in lower precision: what the files hold, what they compute, which layers stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mattemill.pipeline.evaluation.datasets import open_sets
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.precision.gate import examples_of, measure
from mattemill.pipeline.precision.graph import Graph, read_graph
from mattemill.pipeline.precision.half import halved
from mattemill.pipeline.precision.qdq import Recipe, float_layers, operators
from mattemill.pipeline.precision.search import Candidates, calibration_inputs, search
from mattemill.pipeline.precision.sensitivity import maps

onnx = pytest.importorskip("onnx", reason="the onnx package rewrites networks")

MakeNetwork = Callable[..., Path]
OUTLIER = 400.0


def candidates(card: ModelCard, path: Path, discs: Path, to: str = "int8", **recipe: object) -> Candidates:
    photographs = sorted((discs / "image").iterdir())[:3]
    made = Recipe(to="fp8") if to == "fp8" else Recipe(**recipe)  # type: ignore[arg-type]
    return Candidates(card, path, to, calibration_inputs(card, photographs), made)  # type: ignore[arg-type]


def difference(one: Candidates, other: Graph) -> float:
    """Mean absolute difference of the maps, 0..255."""
    own = maps(one.card, Candidates(one.card, one.path, "fp16", one.inputs).graph, one.inputs)
    theirs = maps(one.card, other, one.inputs)
    return float(np.mean([np.abs(a.astype(float) - b.astype(float)).mean() for a, b in zip(own, theirs, strict=True)]))


def test_int8_is_written_as_explicit_q_and_dq(card: ModelCard, make_network: MakeNetwork, discs: Path):
    graph = candidates(card, make_network(), discs).make()

    onnx.checker.check_model(graph.model)
    assert float_layers(graph) == ()
    for layer in (node for node in graph.nodes if node.op_type == "Conv"):
        assert [graph.maker[name].op_type for name in layer.input] == ["DequantizeLinear"] * 3
        assert graph.values[graph.maker[layer.input[1]].input[0]].dtype == np.int8
        assert graph.values[graph.maker[layer.input[2]].input[0]].dtype == np.int32
    # Pooling, resizing and joining are in eight bits, too.
    for node in graph.nodes:
        if node.op_type in ("MaxPool", "Resize", "Concat"):
            assert graph.users[node.output[0]][0].op_type == "QuantizeLinear"


def test_seven_bits_are_seven_bits(card: ModelCard, make_network: MakeNetwork, discs: Path):
    graph = candidates(card, make_network(), discs, weight_bits=7).make()

    largest = max(
        int(np.abs(value).max()) for value in graph.values.values() if value.dtype == np.int8 and value.ndim == 4
    )
    assert largest == 63


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_a_network_without_outliers_stays_itself_in_int8(
    card: ModelCard, make_network: MakeNetwork, discs: Path, activations: str
):
    made = candidates(card, make_network(), discs, activations=activations)

    assert difference(made, made.make()) < 8


def test_signed_activations_have_no_zero_point(card: ModelCard, make_network: MakeNetwork, discs: Path):
    graph = candidates(card, make_network(), discs, activations="int8").make()

    zeros = [graph.values[node.input[2]] for node in graph.nodes if node.op_type == "QuantizeLinear"]
    assert zeros
    assert all(zero.dtype == np.int8 and zero == 0 for zero in zeros)


def test_fp8_is_written_as_float8e4m3fn_and_runs(card: ModelCard, make_network: MakeNetwork, discs: Path):
    made = candidates(card, make_network(), discs, "fp8")
    graph = made.make()

    kinds = {each.data_type for each in graph.model.graph.initializer if each.name.endswith("_quantized")}
    assert kinds == {onnx.TensorProto.FLOAT8E4M3FN}
    assert graph.model.opset_import[0].version >= 19
    assert difference(made, graph) < 8


def test_fp16_keeps_its_inputs_and_the_layers_that_are_to_stay(card: ModelCard, make_network: MakeNetwork, discs: Path):
    made = candidates(card, make_network(), discs, "fp16")
    graph = made.make(("second",))

    assert graph.model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    weights = {node.name: graph.values[node.input[1]].dtype for node in graph.nodes if node.op_type == "Conv"}
    assert weights.pop("second") == np.float32
    assert set(weights.values()) == {np.dtype(np.float16)}
    assert difference(made, graph) < 1


def test_u2netp_in_fp16_loads_and_agrees_with_itself(u2netp: Path):
    """Its enlargements have sizes, and empty scales beside them."""
    graph = read_graph(u2netp, card_of("u2netp").output.names)
    image = np.random.default_rng(0).normal(size=(1, 3, 320, 320)).astype(np.float32)
    whole, half = (
        onnxruntime.InferenceSession(each.model.SerializeToString()).run(None, {"input.1": image})[0]
        for each in (graph, halved(graph))
    )
    assert np.abs(whole - half).mean() < 0.01
    assert len(halved(graph).model.SerializeToString()) < 0.6 * u2netp.stat().st_size


def test_kept_layers_stay_float(card: ModelCard, make_network: MakeNetwork, discs: Path):
    made = candidates(card, make_network(OUTLIER), discs)

    assert float_layers(made.make(("bad", "last"))) == ("bad", "last")
    assert operators(made.make([layer.name for layer in made.graph.layers])).get("QuantizeLinear") is None


def test_sensitivity_names_the_planted_bad_layer(card: ModelCard, make_network: MakeNetwork, discs: Path):
    costs = candidates(card, make_network(OUTLIER), discs, equalise=False).costs()

    assert costs[0].layer == "bad"
    assert costs[0].iou < 0.5 < 0.95 < costs[1].iou
    assert {cost.layer for cost in costs} == {"first", "second", "bad", "last"}


@pytest.mark.usefixtures("bad_in_eight_bits")
def test_the_search_leaves_the_bad_layer_in_float_and_passes(card: ModelCard, make_network: MakeNetwork, discs: Path):
    examples = examples_of(open_sets(discs))[3:]

    found = search(candidates(card, make_network(), discs), examples, tolerance=0.05, keep=0.3)

    assert found.file is not None
    assert found.kept == ("bad",)
    assert [each.verdict.passed for each in found.tries] == [False, True]
    assert float_layers(Graph(onnx.load_from_string(found.file))) == ("bad",)


@pytest.mark.usefixtures("bad_in_eight_bits")
def test_the_search_gives_up_without_a_budget_and_tells_the_costs(
    card: ModelCard, make_network: MakeNetwork, discs: Path
):
    examples = examples_of(open_sets(discs))[3:]

    found = search(candidates(card, make_network(), discs), examples, tolerance=0.05, keep=0.0)

    assert found.file is None
    assert len(found.tries) == 1
    assert found.costs[0].layer == "bad"


def test_a_steady_channel_moves_into_the_biases_and_the_network_stays_itself(
    card: ModelCard, make_network: MakeNetwork, discs: Path
):
    made = candidates(card, make_network(constant=250.0), discs, equalise=False, move_constants=True)

    assert [(each.layer, each.channel) for each in made.moved] == [("second", 7)]
    assert made.moved[0].amount == pytest.approx(237.5)
    assert difference(made, made.graph) < 0.1
    assert made.graph.values["second.b"][7] == pytest.approx(12.5)


def test_equalised_channels_compute_the_same_and_suit_one_step(card: ModelCard, make_network: MakeNetwork, discs: Path):
    made = candidates(card, make_network(OUTLIER), discs)
    plain = candidates(card, make_network(OUTLIER), discs, equalise=False)

    assert difference(made, made.graph) < 0.1
    spread = [float(np.abs(each.graph.values["bad.w"][0]).max()) for each in (made, plain)]
    assert spread[0] < 0.1 * spread[1]


def test_the_gate_measures_a_worse_network_as_worse(card: ModelCard, make_network: MakeNetwork, discs: Path):
    path = make_network(OUTLIER)
    examples = examples_of(open_sets(discs))
    broken = path.with_name("broken.onnx")
    broken.write_bytes(candidates(card, path, discs, equalise=False).make().to_bytes())

    good, bad = measure(card, path, examples), measure(card, broken, examples)

    assert [each.key for each in good] == [f"discs/{number:03}" for number in range(8)]
    assert min(each.iou for each in good) > 0.9
    assert max(each.iou for each in bad) < 0.5
    assert min(each.sad for each in bad) > max(each.sad for each in good)
