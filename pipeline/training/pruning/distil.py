"""The slim network learns what the whole one answers, on photographs that nobody labelled.

Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, for maps: the loss is the divergence of the
slim network's map from the whole one's, pixel by pixel, over all outputs that the file has (the side outputs are as
good teachers as the main one). What a step sees depends on the seed and the step's number only.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.training.pruning.pictures import Input, Pictures
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
Teacher = Callable[[Tensor], Sequence[Tensor]]
"""Inputs (n, 3, h, w) to the outputs that the slim network should have, in the file's order."""

_AVERAGE = 0.98  # of the weights over steps: what is validated and exported; short, as the runs are
_LEVEL = 0.5


@dataclass(frozen=True, slots=True)
class Distillation:
    """Settings of a run; a normal run sets steps at most.

    steps: optimiser steps in all; 0 = none. batch: photographs a step. rate: highest learning rate, as a share of the
    mean size of the numbers of each weight: networks whose batch normalisation was folded into them have layers whose
    weights differ a hundredfold, and one step size for all (2e-4 was tried in u2netp) wrecks the small ones; so did a
    share of 1e-3 with 2 photographs a step (benchmarks/results/prune_u2netp.json). It rises
    over `warmup` steps and falls to nothing along a half cosine. check_every: steps between checks, and checkpoints.
    minutes: stop, with a checkpoint, after that long; 0 = no limit. threads: of torch; 0 = as it decides.
    logits: the outputs have not been through a sigmoid.
    """

    seed: int = 1
    steps: int = 2000
    batch: int = 8
    rate: float = 1e-4
    warmup: int = 10
    check_every: int = 100
    minutes: float = 0.0
    threads: int = 0
    device: str = "cpu"
    logits: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ConfigError(f"steps = {self.steps}: must be at least 0")
        for name in ("batch", "check_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        return self.rate * rising * 0.5 * (1 + float(np.cos(np.pi * step / max(1, self.steps))))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two networks' main maps over held-out photographs: mean absolute difference, and mean IoU at 0.5.

    A job stretches a map to its whole range, so both are, first (not where they are logits).
    """

    mae: float
    iou: float


def distil(
    slim: OnnxNetwork,
    teacher: Teacher,
    pictures: Pictures,
    options: Distillation,
    folder: Path,
    main: int = 0,
    on_log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> bool:
    """Train `slim` in place, or go on from the checkpoint in `folder`; True when all steps are done.

    At the end `slim` has the averaged weights of the check at which it agreed best with the teacher on the held-out
    photographs, the one before the first step included: learning never makes it worse there. main: number of the output
    that a job reads. Writes CHECKPOINT (whole or not at all) and appends to LOG, one JSON object a check. Raises
    ConfigError for another run's checkpoint.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    slim.to(device)
    folder.mkdir(parents=True, exist_ok=True)
    learning = [weight for weight in slim.weights if weight.requires_grad]
    average = [weight.detach().clone() for weight in learning]
    # No weight decay: what is not asked for should stay as it was.
    groups = [{"params": [weight], "size": float(weight.detach().abs().mean())} for weight in learning]
    optimiser = torch.optim.Adam(groups, lr=options.rate, betas=(0.9, 0.99))
    best = _Best([weight.detach().clone() for weight in learning], float("inf"))
    step, seconds = _resume(folder, learning, average, best, optimiser, device, options)
    if step >= options.steps:
        best.into(learning)
        return True
    began = time.monotonic()
    held_out = held_out_answers(teacher, pictures, main, device)

    def check() -> dict[str, float]:
        with _averaged(learning, average):
            found = agreement(slim, held_out, main, options.logits)
        best.offer(average, found.mae)
        return {"held_out_mae": round(found.mae, 5), "held_out_iou": round(found.iou, 4)}

    if step == 0:
        _tell(folder, {"step": 0, "seconds": 0.0, "rate": 0.0, "loss": None, **check()}, on_log)
    losses: list[float] = []
    late = False
    while step < options.steps and not late:
        for group in optimiser.param_groups:
            group["lr"] = options.rate_at(step) * group["size"]
        optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for i in range(options.batch):  # one by one: the same gradient in an eighth of the memory
            pixels = torch.from_numpy(pictures.sample(options.seed, step * options.batch + i)).to(device)
            with torch.no_grad():
                wanted = teacher(pixels)
            loss = divergence(slim(pixels), wanted, options.logits) / options.batch
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        keep = min(_AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for ours, theirs in zip(average, learning, strict=True):
                ours.mul_(keep).add_(theirs, alpha=1 - keep)
        step += 1
        losses.append(total)
        taken = seconds + time.monotonic() - began
        late = options.minutes > 0 and time.monotonic() - began > options.minutes * 60
        if step % options.check_every == 0 or step == options.steps or late:
            entry = {
                "step": step,
                "seconds": round(taken, 1),
                "rate": options.rate_at(step - 1),
                "loss": round(float(np.mean(losses)), 6),
                **check(),
            }
            losses = []
            _save(folder, learning, average, best, optimiser, step, taken, options)
            _tell(folder, entry, on_log)
    best.into(learning)
    return step >= options.steps


def divergence(outputs: Sequence[Tensor], wanted: Sequence[Tensor], logits: bool) -> Tensor:
    """Mean over outputs and pixels of the divergence (Kullback, Leibler) of Bernoulli maps; 0 when they are equal."""
    total = torch.zeros((), device=outputs[0].device)
    for ours, theirs in zip(outputs, wanted, strict=True):
        if logits:
            ours, theirs = torch.sigmoid(ours), torch.sigmoid(theirs)
        ours, theirs = ours.clamp(1e-6, 1 - 1e-6), theirs.clamp(1e-6, 1 - 1e-6)
        least = functional.binary_cross_entropy(theirs, theirs)
        total = total + functional.binary_cross_entropy(ours, theirs) - least
    return total / len(outputs)


@torch.no_grad()
def held_out_answers(
    teacher: Teacher, pictures: Pictures, main: int, device: torch.device
) -> list[tuple[Input, Tensor]]:
    """(input, the teacher's main map) of every held-out photograph."""
    inputs = [pictures.plain(path) for path in pictures.held_out]
    return [(pixels, teacher(torch.from_numpy(pixels).to(device))[main]) for pixels in inputs]


@torch.no_grad()
def agreement(slim: OnnxNetwork, held_out: Sequence[tuple[Input, Tensor]], main: int, logits: bool) -> Agreement:
    """See `Agreement`."""
    errors, shares = [], []
    for pixels, wanted in held_out:
        ours, theirs = (
            _stretched(each, logits) for each in (slim(torch.from_numpy(pixels).to(wanted.device))[main], wanted)
        )
        errors.append(float((ours - theirs).abs().mean()))
        a, b = ours >= _LEVEL, theirs >= _LEVEL
        union = int((a | b).sum())
        shares.append(int((a & b).sum()) / union if union else 1.0)
    return Agreement(float(np.mean(errors)), float(np.mean(shares)))


def _stretched(values: Tensor, logits: bool) -> Tensor:
    if logits:
        return torch.sigmoid(values)
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp_min(1e-6)


@dataclass(slots=True)
class _Best:
    """Weights, and how far they were from the teacher on the held-out photographs."""

    weights: list[Tensor]
    mae: float

    def offer(self, weights: Sequence[Tensor], mae: float) -> None:
        if mae < self.mae:
            self.weights, self.mae = [weight.detach().clone() for weight in weights], mae

    def into(self, learning: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for weight, best in zip(learning, self.weights, strict=True):
                weight.copy_(best)


def _tell(folder: Path, entry: dict[str, Any], on_log: Callable[[dict[str, Any]], None]) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")
    on_log(entry)


class _averaged:
    """With the averaged weights in place of the learning ones."""

    def __init__(self, learning: Sequence[Tensor], average: Sequence[Tensor]) -> None:
        self._learning, self._average = learning, average
        self._own: list[Tensor] = []

    def __enter__(self) -> None:
        with torch.no_grad():
            self._own = [weight.detach().clone() for weight in self._learning]
            for weight, mean in zip(self._learning, self._average, strict=True):
                weight.copy_(mean)

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for weight, own in zip(self._learning, self._own, strict=True):
                weight.copy_(own)


def _resume(
    folder: Path,
    learning: Sequence[nn.Parameter],
    average: Sequence[Tensor],
    best: _Best,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
    options: Distillation,
) -> tuple[int, float]:
    path = folder / CHECKPOINT
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if state["seed"] != options.seed:
            raise ValueError(f"its seed is {state['seed']}")
        with torch.no_grad():
            for name, into in (("learning", learning), ("average", average), ("best", best.weights)):
                for weight, saved in zip(into, state[name], strict=True):
                    if weight.shape != saved.shape:
                        raise ValueError(f"a weight is {tuple(saved.shape)}, not {tuple(weight.shape)}")
                    weight.copy_(saved)
        best.mae = float(state["best_mae"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"]), float(state["seconds"])
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{path}: is not a checkpoint of this run ({what}); name another folder, or leave --resume out"
        ) from error


def _save(
    folder: Path,
    learning: Sequence[Tensor],
    average: Sequence[Tensor],
    best: _Best,
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
    options: Distillation,
) -> None:
    state = {
        "learning": [weight.detach() for weight in learning],
        "average": list(average),
        "best": best.weights,
        "best_mae": best.mae,
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
        "seed": options.seed,
        "options": asdict(options),
    }
    partial = folder / f"{CHECKPOINT}.part"
    torch.save(state, partial)
    partial.replace(folder / CHECKPOINT)
