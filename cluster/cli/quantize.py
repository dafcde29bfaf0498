"""`mattemill quantize MODEL`: a network in lower precision, written only when its masks stay as good."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mattemill.cluster.cli import options, say
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.cards import CARDS, card_of

if TYPE_CHECKING:
    from mattemill.pipeline.precision.search import Candidates, Found
    from mattemill.pipeline.precision.split import Split

_PRECISIONS = ("fp16", "fp8", "int8")
_SHOWN = 20  # layers in the table; --json has all
_TELL_EVERY = 0.1


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "quantize",
        help="write a network in lower precision if its masks stay as good",
        description="Make an ONNX of MODEL in fp16, or in int8 or fp8 with explicit Q/DQ, and write it only if over "
        "the photographs of --evaluate the mean IoU of its masks falls, and their mean SAD rises, by no more than the "
        "tolerance. Where it does not pass, the layers that cost most are left in float32, up to --keep; where that is "
        "not enough either, nothing is written, each layer's cost is told, and the exit code is 1. Needs the onnx "
        "package.",
    )
    parser.add_argument("model", metavar="MODEL", help="a saliency network by its card, see `mattemill models list`")
    parser.add_argument("--to", choices=_PRECISIONS, required=True, help="precision of weights and arithmetic")
    parser.add_argument(
        "--calibrate",
        type=Path,
        required=True,
        metavar="DATASET",
        help="photographs to find ranges on; no truth needed",
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="DATASET",
        help="photographs with truth, as `mattemill evaluate` reads them (default: those of --calibrate). No "
        "photograph is used for both: what both hold is dealt out by the files' hashes",
    )
    gate = parser.add_argument_group("gate")
    gate.add_argument("--tolerance", type=_share, default=0.05, metavar="N%", help="allowed relative loss (5%%)")
    gate.add_argument(
        "--keep", type=_share, default=0.03, metavar="N%", help="of the layers, how many may stay in float32 (3%%)"
    )
    gate.add_argument("--limit", type=_positive, metavar="N", help="judge on at most N photographs a set")
    how = parser.add_argument_group("int8")
    how.add_argument(
        "--activations",
        choices=("uint8", "int8"),
        default="uint8",
        help="uint8 is fastest on CPUs (default); int8 is what TensorRT takes",
    )
    how.add_argument(
        "--weight-bits",
        type=int,
        choices=(7, 8),
        default=7,
        help="7 (default) cannot overflow on CPUs without VNNI; 8 is finer where all machines have it, and on GPUs",
    )
    how.add_argument(
        "--light",
        type=_share,
        default=0.03,
        metavar="N%",
        help="of the multiplications, how many may stay in float32 in layers where eight bits gain next to nothing, "
        "those of the smallest resolutions (3%%); of fp8, too. 0 makes the smallest file",
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument("--output", type=Path, metavar="FILE", help="MODEL-PRECISION.onnx here when not given")
    out.add_argument("--file", type=Path, metavar="ONNX", help="take this file of MODEL's contract, not the cached one")
    out.add_argument("--dry-run", action="store_true", help="do everything but write")
    options.add_common(parser, json_help="verdict and layer costs as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search, tell, write; 1 when nothing passed the gate."""
    if args.model not in CARDS:
        raise UsageError(f"model {args.model!r} is not known; known are {', '.join(sorted(CARDS))}")
    card = card_of(args.model)
    if card.task != "saliency":
        raise UsageError(
            f"model {args.model} is a {card.task} network: the gate compares masks, which it makes none of"
        )
    output = args.output if args.output is not None else Path(f"{args.model}-{args.to}.onnx")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.parent}")
    # Imported here: these bring onnxruntime and OpenCV, and wrong use is told without waiting for them.
    from mattemill.pipeline.evaluation.datasets import open_sets
    from mattemill.pipeline.precision.gate import examples_of
    from mattemill.pipeline.precision.lowered import describe, publish, sidecar_of
    from mattemill.pipeline.precision.qdq import Recipe
    from mattemill.pipeline.precision.search import Candidates, calibration_inputs, search
    from mattemill.pipeline.precision.split import split

    path = args.file if args.file is not None else model_path(args.model)
    dataset = args.evaluate if args.evaluate is not None else args.calibrate
    parts = split(args.calibrate, examples_of(open_sets(dataset, limit=args.limit)))
    sys.stderr.write(parts.told + "\n")
    if args.to == "fp8":
        recipe = Recipe(to="fp8", light=args.light)
    else:
        recipe = Recipe(activations=args.activations, weight_bits=args.weight_bits, light=args.light)
    inputs = calibration_inputs(card, [each.path for each in parts.calibration])
    candidates = Candidates(card, path, args.to, inputs, recipe, _Progress())
    found = search(candidates, parts.evaluation, tolerance=args.tolerance, keep=args.keep)
    content = describe(candidates, found, parts.calibration)
    written = found.file is not None and not args.dry_run
    if written and found.file is not None:
        content = publish(output, found.file, content)
    if args.json:
        costs = [dataclasses.asdict(cost) for cost in found.costs]
        told = {"passed": found.file is not None, "output": str(output) if written else None, "split": parts.told}
        print(json.dumps({**told, **content, "layer_costs": costs}))
    else:
        _print(args.to, found, candidates, parts)
        if written:
            print(f"wrote {output} ({say.size(output.stat().st_size)}) and {sidecar_of(output)}")
        elif found.file is not None:
            print(f"a dry run: nothing is written; {say.size(len(found.file))} would be")
        else:
            print(f"nothing is written. Try another precision, --keep more than {args.keep:.3g}, or a higher tolerance")
    return 0 if found.file is not None else 1


def _print(to: str, found: Found, candidates: Candidates, parts: Split) -> None:
    for channel in found.moved:
        print(f"steady channel {channel.channel} of {channel.layer} ({channel.amount:.4g}) moved into the biases")
    if found.light:
        print(f"{say.count(len(found.light), 'layer')} with next to no multiplications in float32")
    for each in found.tries:
        kept = (
            f"{len(each.kept)} of {found.layers} layers in float32"
            if each.kept
            else f"all {'others' if found.light else 'layers'} in {to}"
        )
        print(f"{kept}: {each.verdict.why}")
        if each.kept:
            print(f"  in float32: {', '.join(each.kept)}")
    if found.costs:
        few = min(3, len(parts.calibration))
        print(
            f"\neach layer alone in {to}, against the network itself, over {say.count(few, 'calibration photograph')}:"
        )
        rows = [("layer", "IoU", "error", "weights")]
        rows += [(c.layer, f"{c.iou:.4f}", f"{c.error:.5f}", f"{c.weights:,}") for c in found.costs[:_SHOWN]]
        print(say.table(rows, right=frozenset({1, 2, 3})))
        if len(found.costs) > _SHOWN:
            print(f"  and {len(found.costs) - _SHOWN} that cost less (--json has all)")


class _Progress:
    """A line on stderr for every tenth of a step."""

    def __init__(self) -> None:
        self._told: tuple[str, int] = ("", -1)

    def __call__(self, what: str, done: int, of: int) -> None:
        tenth = int(done / of / _TELL_EVERY)
        if (what, tenth) != self._told:
            self._told = (what, tenth)
            sys.stderr.write(f"{what}: {done} of {of}\n")


def _share(text: str) -> float:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a share such as 5% nor a number from 0 to below 1")
    return value


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value
