"""`mattemill train matting`: the matting network from nothing, on generated photographs; resumes where it stopped."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mattemill.cluster.cli import options
from mattemill.pipeline.errors import UsageError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train the matting network (needs the extra [train])",
        description="Training of mattemill's own network on photographs that it generates, with exact alpha.",
    )
    actions = parser.add_subparsers(title="what", metavar="WHAT", required=True, parser_class=type(parser))
    matting = actions.add_parser(
        "matting",
        help="train, or go on training, in a folder",
        description="Train the matting network in FOLDER: checkpoint.pt (the same command goes on from it), log.jsonl, "
        "curves.png, and at the end matting.onnx. The same seed sees the same samples.",
    )
    matting.add_argument("--folder", type=Path, required=True, metavar="FOLDER", help="checkpoint, log and network")
    for name, kind, text in (
        ("seed", int, "of the samples and of the first weights (1)"),
        ("steps", int, "optimiser steps in all (20000)"),
        ("batch", int, "samples a step (16)"),
        ("size", int, "pixels, the side of a sample (192)"),
        ("rate", float, "highest learning rate (0.0015)"),
        ("decay", float, "last share of the steps over which the rate falls to nothing (0.3)"),
        ("check-every", int, "steps between validations and checkpoints (250)"),
        ("validation", int, "samples of the validation, of a seed of their own (64)"),
        ("minutes", float, "stop with a checkpoint after that long; 0 = no limit (0)"),
        ("threads", int, "of torch; 0 = as it decides (0)"),
        ("workers", int, "processes that make samples (1)"),
    ):
        matting.add_argument(f"--{name}", type=kind, metavar=name.upper().replace("-", "_"), help=text)
    matting.add_argument("--device", help="cpu (default) or cuda, as torch names it")
    matting.add_argument("--export-only", action="store_true", help="write matting.onnx from the checkpoint, no step")
    options.add_common(matting, json_help="a JSON line a validation on stdout")
    matting.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and export. Raises UsageError when torch is missing, ConfigError for wrong settings."""
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise UsageError(
            f"training needs {error.name}: install the extra, `pip install 'mattemill[train]'` (or -e '.[train]')"
        ) from None
    from mattemill.pipeline.training.curves import draw_curves
    from mattemill.pipeline.training.export import export_network
    from mattemill.pipeline.training.samples import sample_maker
    from mattemill.pipeline.training.train import LOG, Training, train

    given = {
        name: getattr(args, name) for name in Training.__dataclass_fields__ if getattr(args, name, None) is not None
    }
    training = Training(**given)
    if training.device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {training.device}: torch finds no GPU here; leave it out to train on the CPU")
    folder: Path = args.folder

    def tell(entry: dict[str, Any]) -> None:
        if args.json:
            print(json.dumps(entry), flush=True)
            return
        share = entry["step"] / training.steps
        left = entry["seconds"] * (1 / share - 1) if share else 0.0
        sys.stderr.write(
            f"step {entry['step']}/{training.steps}  alpha {entry['alpha']:.4f}  validation MAE in the band "
            f"{entry['validation_mae']:.4f} (closed form {entry['validation_closed_mae']:.4f})  "
            f"{entry['seconds'] / 60:.0f} min, about {left / 60:.0f} to go\n"
        )

    if not args.export_only:
        train(training, folder, sample_maker, tell)
        draw_curves(folder / LOG, folder / "curves.png")
    target = folder / "matting.onnx"
    size = export_network(folder, target)
    if args.json:
        print(json.dumps({"network": str(target), "bytes": size}))
    else:
        print(f"{target}: {size / 1e6:.1f} MB")
    return 0
