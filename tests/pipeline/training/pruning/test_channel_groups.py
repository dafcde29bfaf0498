"""Which channels go together, what is left of the file, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch", reason="pruning needs the extra [train]: torch is missing")
onnx = pytest.importorskip("onnx", reason="pruning needs the extra [train]: onnx is missing")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mattemill.pipeline.errors import ConfigError, MattemillError, ModelError  # noqa: E402
from mattemill.pipeline.models.cache import model_path  # noqa: E402
from mattemill.pipeline.training.pruning.channels import Channels, channels_of  # noqa: E402
from mattemill.pipeline.training.pruning.choose import choose  # noqa: E402
from mattemill.pipeline.training.pruning.cost import cost_of, pixels_of  # noqa: E402
from mattemill.pipeline.training.pruning.onnx_file import read_onnx, tidy, weights_of, with_weights  # noqa: E402
from mattemill.pipeline.training.pruning.slim import Kept, slimmed  # noqa: E402
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork  # noqa: E402

PIXELS = np.random.default_rng(9).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
Network = Callable[..., Any]


def answers(model: Any, pixels: Any = PIXELS) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return list(session.run(None, {session.get_inputs()[0].name: pixels}))


def silenced(model: Any, channels: Channels, kept: Kept) -> Any:
    """The network with zero weights wherever a convolution that mixes channels reads a unit that goes."""
    weights = weights_of(model)
    new = {}
    for each in channels.convolutions:
        if not each.depthwise:
            new[each.weight] = weights[each.weight].copy()
            new[each.weight][:, ~kept[each.ins]] = 0
    return with_weights(model, new)


def some_kept(channels: Channels, seed: int, share: float) -> Kept:
    """A random choice that leaves every convolution at least one channel."""
    kept = np.random.default_rng(seed).random(channels.count) > share
    kept[channels.fixed] = True
    for each in channels.convolutions:
        kept[each.outs[0]] = True
    return kept


def by_name(channels: Channels) -> dict[str, Any]:
    return {each.name: each for each in channels.convolutions}


def test_an_addition_ties_its_two_sides_and_a_concatenation_does_not(network: Network) -> None:
    found = by_name(channels_of(tidy(network())))
    assert found["c"].outs.tolist() == found["a"].outs.tolist()
    assert found["c"].ins.tolist() == [*found["b"].outs.tolist(), *found["a"].outs.tolist()]
    assert not set(found["a"].outs.tolist()) & set(found["b"].outs.tolist())


def test_a_depthwise_filter_passes_its_units_on(network: Network) -> None:
    found = by_name(channels_of(tidy(network())))
    assert found["b.depthwise"].depthwise
    assert found["b.depthwise"].outs.tolist() == found["b"].outs.tolist()


def test_only_what_goes_in_and_out_is_fixed(network: Network) -> None:
    channels = channels_of(tidy(network()))
    found = by_name(channels)
    assert set(np.flatnonzero(channels.fixed)) == {*found["a"].ins, *found["main"].outs, *found["side"].outs}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0.1, 0.9), norm=st.booleans(), fixed_sizes=st.booleans())
def test_taking_out_channels_that_nothing_reads_changes_no_output(
    network: Network, seed: int, share: float, norm: bool, fixed_sizes: bool
) -> None:
    model = tidy(network(seed, norm=norm, fixed_sizes=fixed_sizes))
    channels = channels_of(model)
    kept = some_kept(channels, seed, share)
    quiet = silenced(model, channels, kept)
    for ours, wanted in zip(answers(slimmed(quiet, channels, kept)), answers(quiet), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_taking_out_channels_that_are_read_does_change_it(network: Network) -> None:
    model = tidy(network())
    channels = channels_of(model)
    slim = slimmed(model, channels, some_kept(channels, 1, 0.5))
    assert np.abs(answers(slim)[0] - answers(model)[0]).max() > 1e-3


def test_names_and_shapes_of_inputs_and_outputs_stay(network: Network) -> None:
    model = tidy(network())
    channels = channels_of(model)
    slim = slimmed(model, channels, some_kept(channels, 1, 0.5))
    assert list(slim.graph.input) == list(model.graph.input)
    assert list(slim.graph.output) == list(model.graph.output)
    assert [n.name for n in slim.graph.node] == [n.name for n in model.graph.node]
    assert [a.shape for a in answers(slim)] == [a.shape for a in answers(model)]


@pytest.mark.parametrize("norm", [False, True])
def test_torch_and_onnx_runtime_agree_on_what_the_network_says(network: Network, norm: bool) -> None:
    import torch

    model = tidy(network(norm=norm))
    with torch.no_grad():
        found = OnnxNetwork(model)(torch.from_numpy(PIXELS))
    for ours, wanted in zip(found, answers(model), strict=True):
        np.testing.assert_allclose(ours.numpy(), wanted, atol=1e-5)


def test_a_ratio_of_nothing_keeps_everything(network: Network) -> None:
    model = tidy(network())
    channels = channels_of(model)
    whole = OnnxNetwork(model)
    kept = choose(channels, pixels_of(whole, 3, (32, 32)), np.ones(channels.count), 0.0)
    assert kept.all()
    for ours, wanted in zip(
        answers(OnnxNetwork(slimmed(model, channels, kept)).to_onnx()), answers(model), strict=True
    ):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_at_least_the_ratio_goes_in_blocks_and_the_least_important_first(network: Network, ratio: float) -> None:
    model = tidy(network())
    channels = channels_of(model)
    pixels = pixels_of(OnnxNetwork(model), 3, (32, 32))
    importance = np.random.default_rng(3).random(channels.count)
    kept = choose(channels, pixels, importance, ratio, block=4)
    assert cost_of(channels, pixels, kept).gmac <= (1 - ratio) * cost_of(channels, pixels).gmac
    for each in channels.convolutions:
        stay, go = importance[each.outs[kept[each.outs]]], importance[each.outs[~kept[each.outs]]]
        assert len(go) % 4 == 0
        assert not len(go) or go.max() < stay.min()


def test_a_ratio_beyond_the_floors_says_how_much_can_go(network: Network) -> None:
    model = tidy(network())
    channels = channels_of(model)
    pixels = pixels_of(OnnxNetwork(model), 3, (32, 32))
    with pytest.raises(ConfigError, match="no more than"):
        choose(channels, pixels, np.ones(channels.count), 0.95)


def test_the_last_channel_of_a_layer_cannot_go(network: Network) -> None:
    model = tidy(network())
    channels = channels_of(model)
    kept = np.ones(channels.count, np.bool_)
    kept[by_name(channels)["b"].outs] = False
    with pytest.raises(ValueError, match="no channels"):
        slimmed(model, channels, kept)


def test_an_operator_that_is_not_known_is_named(network: Network) -> None:
    model = network()
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Softplus"
    with pytest.raises(ModelError, match="Softplus"):
        channels_of(tidy(model))


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"x\.onnx"):
        read_onnx(tmp_path / "x.onnx")


def test_u2netp_loses_channels_that_nothing_reads_without_a_trace() -> None:
    try:
        path = model_path("u2netp")
    except MattemillError as error:
        pytest.skip(f"u2netp is not in the cache: {error}")
    model = read_onnx(path)
    channels = channels_of(model)
    assert len(channels.convolutions) == 119
    assert channels.fixed.sum() == 3 + 7  # red, green, blue; seven outputs
    kept = some_kept(channels, 1, 0.4)
    quiet = silenced(model, channels, kept)
    pixels = np.random.default_rng(1).normal(0, 1, (1, 3, 320, 320)).astype(np.float32)
    for ours, wanted in zip(answers(slimmed(quiet, channels, kept), pixels), answers(quiet, pixels), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-4)
