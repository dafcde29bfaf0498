"""Pruning from a network's file to a smaller one: plan, distil, judge, publish."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import EngineError, UsageError
from mattemill.pipeline.evaluation.datasets import Example
from mattemill.pipeline.models.cache import file_sha256
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.precision.gate import Verdict, judge, measure
from mattemill.pipeline.training.pruning.distil import (
    CHECKPOINT,
    Agreement,
    Distillation,
    Teacher,
    agreement,
    distil,
    held_out_answers,
)
from mattemill.pipeline.training.pruning.onnx_file import read_onnx
from mattemill.pipeline.training.pruning.pictures import Input, Pictures
from mattemill.pipeline.training.pruning.plan import OnStep, Plan
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork

_SAME = 1e-3  # of 0..1: how far torch and ONNX Runtime may be apart at any pixel
_ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians of one forward pass on one CPU thread, in ms, taken in turns; ratio: median of the pairs' ratios."""

    before_ms: float
    after_ms: float
    ratio: float


def trained(
    plan: Plan,
    card: ModelCard,
    path: Path,
    pictures: Pictures,
    options: Distillation,
    folder: Path,
    on_log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> onnx.ModelProto | None:
    """The slim network after distillation; None when the time was up before all steps were done.

    Raises ConfigError for a checkpoint of another run, EngineError when torch and ONNX Runtime do not agree on it.
    """
    slim = OnnxNetwork(plan.slim)
    main = main_output(slim, card)
    teacher = teacher_of(card, path, slim.outputs, options)
    done = not options.steps or distil(slim, teacher, pictures, options, folder, main, on_log)
    slim.to("cpu")
    if not done:
        return None
    model = slim.to_onnx()
    _check_same(slim, model, card, pictures.plain(pictures.held_out[0]), folder)
    return model


def teacher_of(card: ModelCard, path: Path, outputs: Sequence[str], options: Distillation) -> Teacher:
    """The whole network: in ONNX Runtime on a CPU, where that is twice as fast as torch, else in torch."""
    if options.device != "cpu":
        whole = OnnxNetwork(read_onnx(path)).to(options.device).eval()
        return lambda pixels: whole(pixels)
    engine = OnnxRuntimeEngine(path, threads=options.threads or torch.get_num_threads(), name=card.name)

    def answer(pixels: Tensor) -> list[Tensor]:
        found = engine.run({card.input.name: pixels.numpy()})
        return [torch.from_numpy(found[name]) for name in outputs]

    return answer


def main_output(network: OnnxNetwork, card: ModelCard) -> int:
    """The number of the output that a job reads. Raises UsageError when the file has none of its name."""
    name = card.output.names[0]
    if name not in network.outputs:
        raise UsageError(f"the file has no output {name}, which {card.name} has; it has {', '.join(network.outputs)}")
    return network.outputs.index(name)


def agreement_of(card: ModelCard, path: Path, model: onnx.ModelProto, pictures: Pictures) -> Agreement:
    """How far a pruned network is from the whole one on the held-out photographs."""
    slim = OnnxNetwork(model)
    options = Distillation(threads=torch.get_num_threads())
    main = main_output(slim, card)
    teacher = teacher_of(card, path, slim.outputs, options)
    held_out = held_out_answers(teacher, pictures, main, torch.device("cpu"))
    return agreement(slim, held_out, main, card.output.values == "logits")


def speed_of(card: ModelCard, before: Path, after: Path, pixels: Input, rounds: int = _ROUNDS) -> Speed:
    """Both networks in ONNX Runtime, one thread, in turns, so that what else the machine does hits both."""
    engines = [OnnxRuntimeEngine(each, outputs=card.output.names, name=card.name) for each in (before, after)]
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for engine, times in zip(engines, taken, strict=True):
            began = time.perf_counter()
            engine.run({card.input.name: pixels})
            if number:  # the first is a warm-up
                times.append(1000 * (time.perf_counter() - began))
    ratios = [a / b for a, b in zip(*taken, strict=True)]
    before_ms, after_ms = (round(statistics.median(each), 2) for each in taken)
    return Speed(before_ms, after_ms, round(statistics.median(ratios), 3))


def judged(
    card: ModelCard, before: Path, after: Path, examples: Sequence[Example], tolerance: float, on_step: OnStep
) -> Verdict:
    """The gate over both networks, each finding and segmenting as a job does."""
    base, other = (
        measure(card, each, examples, on_done=lambda done, of, what=what: on_step(what, done, of))  # type: ignore[misc]
        for each, what in ((before, "judging the whole network"), (after, "judging the pruned network"))
    )
    return judge(base, other, tolerance)


def report(
    plan: Plan, card: ModelCard, path: Path, speed: Speed, found: Agreement, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything but the verdict, as plain data."""
    return {
        "model": card.name,
        "network_sha256": file_sha256(path),
        **settings,
        "parameters": [plan.before.parameters, plan.after.parameters],
        "gflop": [round(plan.before.gflop, 3), round(plan.after.gflop, 3)],
        "multiply_adds_gone": round(1 - plan.after.gmac / plan.before.gmac, 4),
        "cpu_one_thread": asdict(speed),
        "held_out": {"mae": round(found.mae, 5), "iou": round(found.iou, 4)},
        "layers": plan.layers(),
    }


def publish(model_file: Path, output: Path, sidecar: Mapping[str, Any]) -> Path:
    """Move the finished file to its place, its sidecar (same name, .json) first; the sidecar's path."""
    beside = output.with_suffix(".json")
    partial = beside.with_name(f"{beside.name}.part")
    content = {"file": output.name, "file_sha256": file_sha256(model_file), **sidecar}
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(beside)
    model_file.replace(output)
    return beside


def check_folder(folder: Path, resume: bool) -> None:
    """Raise UsageError when there is a run to go on with and nobody asked for it."""
    if not resume and (folder / CHECKPOINT).exists():
        raise UsageError(f"{folder}: holds a run already; --resume goes on with it, --checkpoint names another folder")


def _check_same(slim: OnnxNetwork, model: onnx.ModelProto, card: ModelCard, pixels: Input, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "check.onnx"
    try:
        onnx.save(model, str(file))
        found = OnnxRuntimeEngine(file, name=card.name).run({card.input.name: pixels})
    finally:
        file.unlink(missing_ok=True)
    with torch.no_grad():
        wanted = slim(torch.from_numpy(pixels))
    for name, ours in zip(slim.outputs, wanted, strict=True):
        apart = float(np.abs(found[name] - ours.numpy()).max())
        if not apart <= _SAME * max(1.0, float(ours.abs().max())):
            raise EngineError(f"model {card.name}, pruned: ONNX Runtime and torch are {apart:.3g} apart in {name}")
