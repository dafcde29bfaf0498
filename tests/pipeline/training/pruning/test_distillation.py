"""Learning from the whole network: repeatable, resumable, never worse than before on what is held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pruning needs the extra [train]: torch is missing")
onnx = pytest.importorskip("onnx", reason="pruning needs the extra [train]: onnx is missing")

from mattemill.pipeline.errors import ConfigError, UsageError  # noqa: E402
from mattemill.pipeline.models.card import ModelCard  # noqa: E402
from mattemill.pipeline.training.pruning.channels import channels_of  # noqa: E402
from mattemill.pipeline.training.pruning.distil import CHECKPOINT, LOG, Distillation, divergence  # noqa: E402
from mattemill.pipeline.training.pruning.importance import importance_of  # noqa: E402
from mattemill.pipeline.training.pruning.onnx_file import tidy, weights_of, with_weights  # noqa: E402
from mattemill.pipeline.training.pruning.pictures import LEAST, open_pictures  # noqa: E402
from mattemill.pipeline.training.pruning.plan import Plan, load_plan, make_plan, save_plan  # noqa: E402
from mattemill.pipeline.training.pruning.prune import trained  # noqa: E402
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork  # noqa: E402

QUICK = Distillation(steps=6, batch=2, check_every=2, threads=1, warmup=1, rate=3e-3)


@pytest.fixture
def path(tmp_path: Path, network: Callable[..., Any]) -> Path:
    file = tmp_path / "small.onnx"
    onnx.save(network(), str(file))
    return file


@pytest.fixture
def plan(card: ModelCard, path: Path, photographs: Path) -> Plan:
    return make_plan(card, path, open_pictures(photographs, card.input), 0.4, block=4, asked=4)


def weights(model: Any) -> dict[str, Any]:
    return {name: values for name, values in weights_of(model).items() if values.dtype == np.float32}


def test_the_map_of_a_network_is_no_distance_from_itself_and_some_from_another() -> None:
    a, b = torch.full((1, 1, 4, 4), 0.3), torch.full((1, 1, 4, 4), 0.6)
    assert float(divergence([a], [a], logits=False)) == pytest.approx(0, abs=1e-7)
    assert float(divergence([a], [b], logits=False)) > 0.1


def test_what_nothing_reads_is_not_important(network: Callable[..., Any]) -> None:
    model = tidy(network())
    channels = channels_of(model)
    b = next(each for each in channels.convolutions if each.name == "b")
    zeroed = {}
    for each in channels.convolutions:
        if not each.depthwise:
            zeroed[each.weight] = weights_of(model)[each.weight].copy()
            zeroed[each.weight][:, np.isin(each.ins, b.outs[:6])] = 0
    quiet = with_weights(model, zeroed)
    pixels = [np.random.default_rng(i).normal(0, 1, (1, 3, 32, 32)).astype(np.float32) for i in range(2)]
    found = importance_of(OnnxNetwork(quiet), channels, pixels)
    assert (found[b.outs[:6]] == 0).all()
    assert (found[b.outs[6:]] > 0).mean() > 0.5


def test_learning_brings_the_slim_network_nearer_to_the_whole_one(
    plan: Plan, card: ModelCard, path: Path, photographs: Path, tmp_path: Path
) -> None:
    told: list[dict[str, Any]] = []
    pictures = open_pictures(photographs, card.input)
    options = replace(QUICK, steps=30, check_every=15, batch=4)
    assert trained(plan, card, path, pictures, options, tmp_path / "run", told.append) is not None
    assert [entry["step"] for entry in told] == [0, 15, 30]
    assert told[-1]["held_out_mae"] < 0.9 * told[0]["held_out_mae"]
    logged = (tmp_path / "run" / LOG).read_text().splitlines()
    assert [json.loads(line) for line in logged] == told


def test_a_run_that_was_stopped_ends_where_one_that_was_not_does(
    plan: Plan, card: ModelCard, path: Path, photographs: Path, tmp_path: Path
) -> None:
    pictures = open_pictures(photographs, card.input)
    straight = trained(plan, card, path, pictures, QUICK, tmp_path / "one")
    stopped = trained(plan, card, path, pictures, replace(QUICK, minutes=1e-9), tmp_path / "two")
    assert stopped is None
    resumed = trained(plan, card, path, pictures, QUICK, tmp_path / "two")
    assert straight is not None
    assert resumed is not None
    for name, values in weights(straight).items():
        np.testing.assert_allclose(weights(resumed)[name], values, atol=1e-6)


def test_steps_that_make_it_worse_are_not_what_comes_out(
    plan: Plan, card: ModelCard, path: Path, photographs: Path, tmp_path: Path
) -> None:
    pictures = open_pictures(photographs, card.input)
    wild = trained(plan, card, path, pictures, replace(QUICK, rate=30.0), tmp_path / "run")
    assert wild is not None
    before = weights(plan.slim)
    assert all(np.array_equal(values, before[name]) for name, values in weights(wild).items())


def test_no_step_and_nothing_gone_is_the_same_network(
    card: ModelCard, path: Path, photographs: Path, tmp_path: Path
) -> None:
    pictures = open_pictures(photographs, card.input)
    plan = make_plan(card, path, pictures, 0.0)
    found = trained(plan, card, path, pictures, replace(QUICK, steps=0), tmp_path / "run")
    assert found is not None
    before = weights(onnx.load(str(path)))
    assert all(np.array_equal(values, before[name]) for name, values in weights(found).items())


def test_the_checkpoint_of_another_run_is_refused(
    plan: Plan, card: ModelCard, path: Path, photographs: Path, tmp_path: Path
) -> None:
    pictures = open_pictures(photographs, card.input)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(b"cut off")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        trained(plan, card, path, pictures, QUICK, folder)


def test_a_plan_is_taken_up_as_it_was_and_not_with_another_ratio(
    plan: Plan, card: ModelCard, path: Path, tmp_path: Path
) -> None:
    save_plan(plan, tmp_path, path, {"ratio": 0.4})
    again = load_plan(card, path, tmp_path, {"ratio": 0.4})
    assert again is not None
    assert again.slim.SerializeToString() == plan.slim.SerializeToString()
    with pytest.raises(ConfigError, match="ratio"):
        load_plan(card, path, tmp_path, {"ratio": 0.5})


def test_a_sample_depends_on_the_seed_and_its_number_only(card: ModelCard, photographs: Path) -> None:
    one, two = (open_pictures(photographs, card.input) for _ in range(2))
    two.sample(1, 0)
    np.testing.assert_array_equal(one.sample(1, 5), two.sample(1, 5))
    assert not np.array_equal(one.sample(1, 5), one.sample(2, 5))


def test_held_out_photographs_are_not_learnt_from(card: ModelCard, photographs: Path) -> None:
    pictures = open_pictures(photographs, card.input)
    assert len(pictures.held_out) == 3
    assert not set(pictures.held_out) & set(pictures.learnt)


def test_too_few_photographs_are_an_error(card: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"needs {LEAST}"):
        open_pictures(tmp_path, card.input)
