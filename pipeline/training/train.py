"""Training of the matting network: from a seed to a checkpoint, resumable at any step, on a CPU or a GPU.

What a step sees depends on the seed and on the step's number only, so a run that was stopped and taken up again sees
the same samples as one that never stopped.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.training.losses import matting_losses
from mattemill.pipeline.training.network import MattingNetwork
from mattemill.pipeline.training.sample import Sample

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_VALIDATION_SEED = 10_000_019  # far from any seed that a person would give
_AVERAGE = 0.998  # of the weights over steps: what is evaluated and exported


@dataclass(frozen=True, slots=True)
class Training:
    """The settings of a training run; those of a normal run are the defaults.

    steps: optimiser steps in all. batch: samples a step. size: pixels, the side of a sample; a multiple of 32.
    rate: the highest learning rate; it rises over `warmup` steps, stays, and falls to nothing over the last share
    `decay` of the steps, so that a longer run may take up a checkpoint from before the fall. check_every: steps between
    validations, and between checkpoints. minutes: stop (with a checkpoint) after that long; 0 = no limit.
    threads: of torch; 0 = as torch decides. workers: processes that make samples.
    """

    seed: int = 1
    steps: int = 20_000
    batch: int = 16
    size: int = 192
    rate: float = 1.5e-3
    warmup: int = 200
    decay: float = 0.3
    check_every: int = 250
    validation: int = 64
    minutes: float = 0.0
    threads: int = 0
    workers: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % 32:
            raise ConfigError(f"size = {self.size}: must be a multiple of 32, and at least 64")
        for name in ("steps", "batch", "check_every", "validation"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        falling = min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps))
        return self.rate * rising * falling


class Samples(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Samples `first` to `first + count` of a seed as tensors: given (7, S, S), alpha (1, S, S), front and back."""

    def __init__(self, make: Callable[[int], Sample], first: int, count: int) -> None:
        self._make, self._first, self._count = make, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return tensors(self._make(self._first + index))


def tensors(sample: Sample) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """uint8 tensors of a sample, channels first: (7, S, S) with masks of 0 and 255, (1, S, S), (3, S, S), (3, S, S)."""
    known = np.stack(
        [
            np.where(sample.trimap == 255, 255, 0).astype(np.uint8),
            np.where(sample.trimap == 0, 255, 0).astype(np.uint8),
            sample.prior,
            sample.closed,
        ]
    )
    given = np.concatenate([sample.photo.transpose(2, 0, 1), known])
    return (
        torch.from_numpy(np.ascontiguousarray(given)),
        torch.from_numpy(sample.alpha[None].copy()),
        torch.from_numpy(np.ascontiguousarray(sample.front.transpose(2, 0, 1))),
        torch.from_numpy(np.ascontiguousarray(sample.back.transpose(2, 0, 1))),
    )


def train(
    options: Training,
    folder: Path,
    maker: Callable[[int, int], Callable[[int], Sample]],
    on_log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> dict[str, Any]:
    """Train, or go on training, in `folder`; the last validation's figures.

    maker: (seed, size) -> (index -> Sample), picklable: it goes to the worker processes.
    Writes CHECKPOINT (whole or not at all) and appends to LOG, one JSON object a validation.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    folder.mkdir(parents=True, exist_ok=True)
    network = MattingNetwork().to(device, memory_format=torch.channels_last)
    average = MattingNetwork().to(device)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-4, betas=(0.9, 0.99))
    step, seconds = _resume(folder, network, average, optimiser, device)
    validation = [
        tuple(part.to(device) for part in batch)
        for batch in DataLoader(
            Samples(maker(_VALIDATION_SEED, options.size), 0, options.validation), batch_size=options.batch
        )
    ]
    began = time.monotonic()
    latest: dict[str, Any] = {}
    sums: dict[str, float] = {}
    since = step
    for batch in _batches(options, maker, step):
        for group in optimiser.param_groups:
            group["lr"] = options.rate_at(step)
        given, alpha, front, back = (_unit(part.to(device)) for part in batch)
        network.train()
        given = given.contiguous(memory_format=torch.channels_last)
        losses = matting_losses(network(given), alpha, _unknown(given), front, back)
        total = losses.total
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        _blend(average, network, min(_AVERAGE, (1 + step) / (10 + step)))
        step += 1
        for name in ("alpha", "composition", "laplacian", "gradient"):
            sums[name] = sums.get(name, 0.0) + float(getattr(losses, name).detach())
        late = options.minutes > 0 and time.monotonic() - began > options.minutes * 60
        if step % options.check_every == 0 or step == options.steps or late:
            taken = seconds + time.monotonic() - began
            latest = {
                "step": step,
                "seconds": round(taken, 1),
                "rate": options.rate_at(step - 1),
                **{name: round(value / (step - since), 5) for name, value in sums.items()},
                **validate(average, validation),
            }
            sums, since = {}, step
            _save(folder, network, average, optimiser, step, taken, options)
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(latest) + "\n")
            on_log(latest)
        if late:
            break
    return latest


@torch.no_grad()
def validate(network: nn.Module, batches: list[tuple[Tensor, ...]]) -> dict[str, float]:
    """Mean absolute error within the unknown band: of the network, and of the closed-form matte on the same samples."""
    network.eval()
    error = closed_error = count = 0.0
    for given_bytes, alpha_bytes, *_ in batches:
        given, alpha = _unit(given_bytes), _unit(alpha_bytes)
        unknown = _unknown(given)
        predicted = network(given).clamp(0, 1)
        error += float(((predicted - alpha).abs() * unknown).sum())
        closed_error += float(((given[:, 6:7] - alpha).abs() * unknown).sum())
        count += float(unknown.sum())
    return {"validation_mae": round(error / count, 5), "validation_closed_mae": round(closed_error / count, 5)}


def _unit(part: Tensor) -> Tensor:
    return part.float() * (1 / 255)


def _unknown(given: Tensor) -> Tensor:
    return 1 - given[:, 3:4] - given[:, 4:5]


def _batches(
    options: Training, maker: Callable[[int, int], Callable[[int], Sample]], step: int
) -> Iterator[tuple[Tensor, ...]]:
    left = options.steps - step
    if left <= 0:
        return
    samples = Samples(maker(options.seed, options.size), step * options.batch, left * options.batch)
    yield from DataLoader(
        samples,
        batch_size=options.batch,
        shuffle=False,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )


def _blend(average: nn.Module, network: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for ours, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                ours.mul_(keep).add_(theirs, alpha=1 - keep)
            else:
                ours.copy_(theirs)


def _resume(
    folder: Path, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
) -> tuple[int, float]:
    path = folder / CHECKPOINT
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"]), float(state["seconds"])
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{path}: is not a checkpoint of this network ({what}); name another folder, or remove it to start anew"
        ) from error


def _save(
    folder: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
    options: Training,
) -> None:
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
        "options": asdict(options),
    }
    partial = folder / f"{CHECKPOINT}.part"
    torch.save(state, partial)
    partial.replace(folder / CHECKPOINT)
