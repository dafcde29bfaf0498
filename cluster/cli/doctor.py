"""`mattemill doctor`: what is there for running networks, what would run where, what is missing and how to get it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from mattemill.cluster.cli import options, say
from mattemill.pipeline.engines.doctor import Diagnosis, diagnose


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what this machine has for GPUs, and what would run where",
        description="Looks at GPU, driver, TensorRT, pycuda, onnxruntime and codecs; changes nothing.",
    )
    options.add_common(parser, json_help="as JSON on stdout")
    parser.set_defaults(run=examine)


def examine(args: argparse.Namespace) -> int:
    """Print the diagnosis. 0 also where parts are missing: the CPU does without them."""
    found = diagnose()
    print(json.dumps(asdict(found)) if args.json else text_of(found))
    return 0


def text_of(found: Diagnosis) -> str:
    """For people."""
    lines = [say.table([(part.name, part.state, part.found) for part in found.parts], indent=""), ""]
    lines += ["what would run where", say.table([(plan.work, plan.where, plan.why) for plan in found.plans]), ""]
    missing = [part for part in found.parts if part.state != "ok" and part.get]
    if missing:
        lines += ["how to get what is missing"]
        lines += [say.table([(part.name, part.purpose, part.get) for part in missing]), ""]
    if found.cuda_refusal is None:
        lines += ["--device cuda can be had"]
    else:
        lines += [f"--device cuda is refused: {found.cuda_refusal}"]
    return "\n".join(lines)
