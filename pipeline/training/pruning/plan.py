"""What goes: decided once from the photographs, written down beside the checkpoint, and taken up again from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.models.cache import file_sha256
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.training.pruning.channels import Channels, channels_of
from mattemill.pipeline.training.pruning.choose import BLOCK, choose
from mattemill.pipeline.training.pruning.cost import Cost, cost_of, pixels_of
from mattemill.pipeline.training.pruning.importance import importance_of
from mattemill.pipeline.training.pruning.onnx_file import read_onnx
from mattemill.pipeline.training.pruning.pictures import Pictures
from mattemill.pipeline.training.pruning.slim import Kept, slimmed
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork

PLAN: Final = "plan.json"
ASKED: Final = 24
"""Photographs that say which units matter: a forward and two backward passes each."""

OnStep = Callable[[str, int, int], None]
"""(what is done, done, of how many)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """slim: the network without what goes, its weights as they were. kept: of the units of `channels`."""

    slim: onnx.ModelProto
    channels: Channels
    kept: Kept
    before: Cost
    after: Cost

    def layers(self) -> dict[str, list[int]]:
        """[output channels before, after] of each convolution that loses some."""
        counts = {each.name: [len(each.outs), int(self.kept[each.outs].sum())] for each in self.channels.convolutions}
        return {name: both for name, both in counts.items() if both[0] != both[1]}


def make_plan(
    card: ModelCard,
    path: Path,
    pictures: Pictures,
    ratio: float,
    *,
    block: int = BLOCK,
    seed: int = 1,
    asked: int = ASKED,
    on_step: OnStep = lambda what, done, of: None,
) -> Plan:
    """Choose what goes. ratio: share of the multiply-adds. Raises ModelError, ConfigError, UsageError."""
    model = read_onnx(path)
    channels = channels_of(model)
    network = OnnxNetwork(model)
    pixels = pixels_of(network, 3, card.input.size)
    importance = np.zeros(channels.count)
    if ratio > 0:
        chosen = np.random.default_rng(seed).permutation(len(pictures.learnt))[:asked]
        importance = importance_of(
            network,
            channels,
            (pictures.plain(pictures.learnt[i]) for i in chosen),
            logits=card.output.values == "logits",
            seed=seed,
            on_done=lambda done: on_step("weighing channels", done, len(chosen)),
        )
    return _plan(model, channels, pixels, choose(channels, pixels, importance, ratio, block=block))


def save_plan(plan: Plan, folder: Path, path: Path, settings: dict[str, Any]) -> None:
    """Write PLAN into the folder. settings: what the plan follows from; a plan of others is not taken up."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"network": file_sha256(path), **settings, "removed": np.flatnonzero(~plan.kept).tolist()}
    partial = folder / f"{PLAN}.part"
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    partial.replace(folder / PLAN)


def load_plan(card: ModelCard, path: Path, folder: Path, settings: dict[str, Any]) -> Plan | None:
    """The plan in the folder; None when there is none.

    Raises ConfigError when it is of another network or other settings, or is damaged.
    """
    file = folder / PLAN
    if not file.is_file():
        return None
    wanted = {"network": file_sha256(path), **settings}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        removed = np.array(content["removed"], np.intp)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); leave --resume out, or name another folder") from error
    for name, value in wanted.items():
        if content.get(name) != value:
            raise ConfigError(
                f"{file}: was made with {name} = {content.get(name)}, now it is {value}: say the same again, or name "
                "another folder"
            )
    model = read_onnx(path)
    channels = channels_of(model)
    kept = np.ones(channels.count, np.bool_)
    kept[removed] = False
    return _plan(model, channels, pixels_of(OnnxNetwork(model), 3, card.input.size), kept)


def _plan(model: onnx.ModelProto, channels: Channels, pixels: dict[str, int], kept: Kept) -> Plan:
    before, after = cost_of(channels, pixels), cost_of(channels, pixels, kept)
    return Plan(slimmed(model, channels, kept), channels, kept, before, after)
