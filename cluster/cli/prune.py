"""`mattemill prune MODEL`: a saliency network with fewer channels, taught by the whole one, under the gate."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mattemill.cluster.cli import options
from mattemill.cluster.cli.models import fetch_needed
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.cards import card_of

_SETTINGS = (
    ("seed", int, "of the choice, of the photographs' order and changes (1)"),
    ("steps", int, "optimiser steps in all; 0 = no fine-tuning (2000)"),
    ("batch", int, "photographs a step (8)"),
    ("rate", float, "highest learning rate, as a share of the mean size of each weight's numbers (0.0001)"),
    ("check-every", int, "steps between checks on held-out photographs, and checkpoints (100)"),
    ("minutes", float, "stop with a checkpoint after that long; --resume goes on; 0 = no limit (0)"),
    ("threads", int, "of torch; 0 = as it decides (0)"),
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "prune",
        help="a network with fewer channels, distilled from the whole one (needs the extra [train])",
        description="Take whole channels out of a convolutional saliency network, let what is left learn from the "
        "whole network on photographs without labels, and write it only if, on DATASET, the IoU of its masks falls and "
        "their SAD rises by no more than the tolerance. Exit code 1, and no file, when it does not pass, or when "
        "--minutes were up first.",
    )
    parser.add_argument("model", metavar="MODEL", help="a saliency network by its card: u2netp, u2net")
    parser.add_argument("--ratio", type=share, required=True, help="share of the multiply-adds that goes, such as 30%%")
    parser.add_argument("--photographs", type=Path, required=True, metavar="FOLDER", help="to learn on; no labels")
    parser.add_argument("--evaluate", type=Path, metavar="DATASET", help="what the gate judges on (see evaluate)")
    parser.add_argument("--tolerance", type=share, default=0.05, help="relative loss of IoU, rise of SAD (5%%)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the new network (MODEL-pruned.onnx)")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="plan, checkpoint, log (FILE's name + .run)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    parser.add_argument("--file", type=Path, metavar="ONNX", help="prune this file of the same contract as MODEL's")
    parser.add_argument("--block", type=int, default=8, metavar="N", help="channels that go at once (8)")
    for name, kind, text in _SETTINGS:
        parser.add_argument(f"--{name}", type=kind, metavar=name.upper().replace("-", "_"), help=text)
    parser.add_argument("--device", help="of the fine-tuning: cpu (default) or cuda, as torch names it")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would go and what it would save; no fine-tuning, no file"
    )
    options.add_common(parser, json_help="figures as one JSON object on stdout")
    parser.set_defaults(run=run)


def share(text: str) -> float:
    """'30%' or '0.3' as 0.3."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share of a whole, such as 30% or 0.3")
    return value


def run(args: argparse.Namespace) -> int:
    """Prune, teach, judge, publish; 1 when the gate is shut or the time was up.

    Raises UsageError when torch is missing or an option makes no sense, ModelError, ConfigError, EngineError.
    """
    card = card_of(args.model)
    if card.task != "saliency":
        raise UsageError(f"model {card.name} is a {card.task} network; prune takes saliency networks such as u2netp")
    if args.evaluate is None and not args.dry_run:
        raise UsageError("--evaluate DATASET is missing: nothing is written that was not judged (or ask for --dry-run)")
    output = args.output or Path(f"{card.name}-pruned.onnx")
    if output.suffix != ".onnx":
        raise UsageError(f"--output {output}: must end in .onnx; the sidecar lies beside it as .json")
    if args.block < 1:
        raise UsageError(f"--block {args.block}: must be at least 1")
    _need_torch(args.device)
    import onnx

    from mattemill.pipeline.evaluation.datasets import open_sets
    from mattemill.pipeline.precision.gate import examples_of
    from mattemill.pipeline.training.pruning import prune
    from mattemill.pipeline.training.pruning.distil import Distillation
    from mattemill.pipeline.training.pruning.pictures import open_pictures
    from mattemill.pipeline.training.pruning.plan import load_plan, make_plan, save_plan

    if args.file is None:
        fetch_needed(card.name)
    path: Path = args.file or model_path(card.name)
    given = {
        name: getattr(args, name) for name in Distillation.__dataclass_fields__ if getattr(args, name, None) is not None
    }
    distillation = replace(Distillation(**given), logits=card.output.values == "logits")
    examples = examples_of(open_sets(args.evaluate)) if args.evaluate is not None else ()
    pictures = open_pictures(args.photographs, card.input)
    folder = args.checkpoint or output.with_name(f"{output.stem}.run")
    chosen = {"ratio": args.ratio, "block": args.block, "seed": distillation.seed}
    teller = _Teller(args.json)
    if not args.dry_run:
        prune.check_folder(folder, args.resume)
    plan = load_plan(card, path, folder, chosen) if args.resume else None
    if distillation.threads:
        import torch

        torch.set_num_threads(distillation.threads)
    if plan is None:
        plan = make_plan(
            card,
            path,
            pictures,
            args.ratio,
            block=args.block,
            seed=distillation.seed,
            on_step=teller.step,
        )
        if not args.dry_run:
            save_plan(plan, folder, path, chosen)
    model = plan.slim
    if not args.dry_run:
        learnt = prune.trained(plan, card, path, pictures, distillation, folder, teller.log)
        if learnt is None:
            sys.stderr.write(f"mattemill: the time was up; --resume goes on from {folder}\n")
            return 1
        model = learnt
    settings = {
        **chosen,
        "photographs": {"learnt": len(pictures.learnt), "held_out": len(pictures.held_out)},
        "distillation": asdict(distillation) if not args.dry_run else None,
    }
    beside = None if args.dry_run else output.resolve().parent  # on its disk, to be moved into place at once
    with tempfile.TemporaryDirectory(prefix=".prune-", dir=beside) as scratch:
        file = Path(scratch) / "pruned.onnx"
        onnx.save(model, str(file))
        speed = prune.speed_of(card, path, file, pictures.plain(pictures.held_out[0]))
        found = prune.agreement_of(card, path, model, pictures)
        figures = prune.report(plan, card, path, speed, found, settings)
        passed = True
        if not args.dry_run:
            verdict = prune.judged(card, path, file, examples, args.tolerance, teller.step)
            figures["verdict"] = verdict.to_json()
            passed = verdict.passed
            if passed:
                prune.publish(file, output, figures)
                figures["file"] = str(output)
    _tell(figures, args.json)
    return 0 if passed else 1


def _need_torch(device: str | None) -> None:
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise UsageError(
            f"pruning needs {error.name}: install the extra, `pip install 'mattemill[train]'` (or -e '.[train]')"
        ) from None
    if device is not None and device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch finds no GPU here; leave it out to train on the CPU")


def _tell(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    parameters, gflop, speed = figures["parameters"], figures["gflop"], figures["cpu_one_thread"]
    print(f"parameters {parameters[0]:,} -> {parameters[1]:,}, GFLOP an image {gflop[0]:.2f} -> {gflop[1]:.2f}")
    print(
        f"one CPU thread: {speed['before_ms']:.0f} -> {speed['after_ms']:.0f} ms, {speed['ratio']:.2f} times as fast; "
        f"held-out photographs: IoU with the whole network {figures['held_out']['iou']:.3f}, "
        f"mean difference {figures['held_out']['mae']:.4f}"
    )
    verdict = figures.get("verdict")
    if verdict is None:
        print("dry run: nothing was learnt, judged or written")
        return
    written = f"; written: {figures['file']}" if "file" in figures else "; nothing was written"
    print(f"gate: {verdict['why']}{written}", file=sys.stdout if verdict["passed"] else sys.stderr)


class _Teller:
    """Progress on stderr, one line a tenth of each task; a line a check (with --json as JSON)."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._told: dict[str, int] = {}

    def step(self, what: str, done: int, of: int) -> None:
        tenth = 10 * done // max(1, of)
        if tenth > self._told.get(what, -1):
            self._told[what] = tenth
            sys.stderr.write(f"{what}: {done} of {of}\n")

    def log(self, entry: dict[str, Any]) -> None:
        if self._json:
            sys.stderr.write(json.dumps(entry) + "\n")
            return
        loss = "" if entry["loss"] is None else f"  loss {entry['loss']:.5f}"
        sys.stderr.write(
            f"step {entry['step']}{loss}  held out: IoU {entry['held_out_iou']:.4f}, mean "
            f"difference {entry['held_out_mae']:.4f}  {entry['seconds'] / 60:.1f} min\n"
        )
