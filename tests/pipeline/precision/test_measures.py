"""What keeps a network itself in eight bits: each measure computes what it says, and u2netp needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.models.cache import is_fetched, model_path
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.precision import calibration
from mattemill.pipeline.precision.calibration import calibrate, session
from mattemill.pipeline.precision.graph import Graph, read_graph
from mattemill.pipeline.precision.light import light_layers
from mattemill.pipeline.precision.pixels import reading_pixels
from mattemill.pipeline.precision.qdq import Recipe, float_layers, plan_of
from mattemill.pipeline.precision.rounding import rounded_by_kernel
from mattemill.pipeline.precision.search import Candidates, calibration_inputs

pytest.importorskip("onnx", reason="the onnx package rewrites networks")

MakeNetwork = Callable[..., Path]
SAMPLES = Path(__file__).parents[2] / "samples" / "photos"
PLAIN = Recipe(by_kernel=False, move_constants=False, equalise=False, pixels=False, light=0.0)


@pytest.fixture
def graph(card: ModelCard, make_network: MakeNetwork) -> Graph:
    return read_graph(make_network(), card.output.names[:1])


def run(graph: Graph, given: np.ndarray) -> np.ndarray:
    return np.asarray(session(graph.to_bytes()).run(None, {graph.input: given})[0])


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, 3, 320, 320)).astype(np.float32)


def test_rounding_by_kernel_keeps_the_sums_of_kernels_and_moves_no_weight_by_a_step():
    weight = np.random.default_rng(0).uniform(-63, 63, (16, 8, 3, 3))
    weight[0, 0] = 0.4  # each for itself, these would be 0, and 3.6 be lost

    rounded = rounded_by_kernel(weight)

    assert np.array_equal(rounded, np.rint(rounded))
    assert np.abs(rounded - weight).max() < 1
    assert np.abs(rounded).max() <= 63
    assert np.abs((rounded - weight).sum(axis=(2, 3))).max() <= 0.5 + 1e-9
    assert rounded[0, 0].sum() == 4
    assert np.abs((np.rint(weight) - weight).sum(axis=(2, 3))).max() > 1


def test_weights_of_one_tap_are_rounded_to_the_nearest():
    weight = np.random.default_rng(0).uniform(-63, 63, (16, 8, 1, 1))

    assert np.array_equal(rounded_by_kernel(weight), np.rint(weight))


def test_reading_pixels_computes_the_same_at_the_frame_too(card: ModelCard, graph: Graph):
    made = reading_pixels(graph, card.input.mean, card.input.std)

    assert [node.op_type for node in made.nodes[:4]] == ["Pad", "Mul", "Add", "Conv"]
    assert np.abs(run(made, noise()) - run(graph, noise())).max() < 1e-4


def test_whole_pixels_go_through_the_first_step_without_an_error(card: ModelCard, make_network: MakeNetwork):
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (card.input.mean, card.input.std))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 320, 320)).astype(np.float32)
    given = ((pixels / 255 - mean) / std)[None]
    made = Candidates(card, make_network(), "int8", [given]).make()
    read = next(node for node in made.nodes if node.op_type == "Conv").input[0]

    (seen,) = session(made.exposing([read])).run([read], {made.input: given})

    assert np.abs(seen[0, :, 1:-1, 1:-1] * 255 - pixels).max() < 1e-3


def test_a_network_whose_input_several_layers_read_is_left_as_it_is(card: ModelCard, graph: Graph):
    second = type(graph.nodes[0])()
    second.CopyFrom(graph.nodes[0])
    second.output[0], second.name = "elsewhere", "elsewhere"
    model = type(graph.model)()
    model.CopyFrom(graph.model)
    model.graph.node.append(second)
    graph = Graph(model)

    assert reading_pixels(graph, card.input.mean, card.input.std) is graph


def test_light_layers_are_whole_sizes_within_their_share(graph: Graph):
    # Of 51 million multiplications, 'second' makes 15 at 160 x 160, and the others 36 at 320 x 320.
    assert light_layers(graph, 0.03) == ()
    assert light_layers(graph, 0.5) == ("second",)
    assert light_layers(graph, 1.0) == ("first", "second", "bad", "last")


def test_light_layers_stay_in_float_and_the_search_does_not_count_them(
    card: ModelCard, make_network: MakeNetwork, discs: Path
):
    inputs = calibration_inputs(card, sorted((discs / "image").iterdir())[:2])
    made = Candidates(card, make_network(), "int8", inputs, Recipe(light=0.5))

    assert float_layers(made.make()) == ("second",)
    assert made.lowered == ("first", "bad", "last")
    assert {cost.layer for cost in made.costs()} == {"first", "bad", "last"}


def test_what_a_kept_layer_puts_out_is_joined_and_pooled_in_eight_bits(graph: Graph):
    plan = plan_of(graph, ("first",))

    # 'ar' is what the first layer puts out: 'second' reads it pooled, 'bad' joined.
    assert {"ar", "pooled", "wide", "joined"} <= plan.made
    assert plan.read == frozenset()
    assert plan_of(graph, ("first", "second", "bad")).made == {"cr", "d"}


def test_what_is_seen_of_a_tensor_does_not_depend_on_what_else_is_asked_or_on_memory(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
):
    inputs = [noise(1), noise(2)]
    both = calibrate(graph, ["ar", "br"], inputs)
    monkeypatch.setattr(calibration, "_BYTES_AT_ONCE", 1)
    passes: list[int] = []

    alone = calibrate(graph, ["br", "ar"], inputs, lambda done, of: passes.append(of))

    assert passes[-1] == 4  # two inputs, twice
    assert np.array_equal(alone["ar"].samples, both["ar"].samples)
    assert np.array_equal(alone["br"].high, both["br"].high)


def test_fp8_runs_as_it_is_written(card: ModelCard, make_network: MakeNetwork, discs: Path):
    """ONNX Runtime's graph optimisations take its codes for integers."""
    inputs = calibration_inputs(card, sorted((discs / "image").iterdir())[:2])
    path = make_network()
    made = Candidates(card, path, "fp8", inputs, Recipe(to="fp8")).make()
    file = path.with_name("eight.onnx")
    file.write_bytes(made.to_bytes())

    (written,) = session(made.to_bytes(), plain=True).run(None, {made.input: inputs[0]})

    assert np.array_equal(OnnxRuntimeEngine(file).run({made.input: inputs[0]})[card.output.names[0]], written)
    assert np.array_equal(run(made, inputs[0]), written)


def test_u2netp_in_int8_stays_itself_by_the_default_recipe():
    card = card_of("u2netp")
    if not is_fetched(card):
        pytest.skip("u2netp is not in the model cache: `mattemill models fetch u2netp`")
    inputs, (other,) = (calibration_inputs(card, [SAMPLES / name]) for name in ("astronaut.jpg", "cat.png"))
    path = model_path("u2netp")
    default, plain = (Candidates(card, path, "int8", inputs, recipe) for recipe in (Recipe(), PLAIN))
    own = run(read_graph(path, card.output.names[:1]), other)

    errors = [float(np.abs(run(each.make(), other) - own).mean()) for each in (default, plain)]

    assert {(each.layer, each.channel) for each in default.moved} >= {("Conv_765", 14)}
    assert len(default.light) == 85
    assert len(default.lowered) == 34
    # Measured: .009 and .023, in 0..1.
    assert errors[0] < min(0.015, 0.6 * errors[1])
