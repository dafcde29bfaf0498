"""u2netp in eight bits and in half precision: what each measure of the recipe is worth, behind the gate, and the speed.

    python benchmarks/quantize_u2netp.py [--data DIR] [--limit N] [--only NAME...] [--json] [--save]

Calibrated on photographs that packages ship and on generated composites, none of them evaluation data. Judged by
`mattemill.pipeline.precision.gate` (finding and segmenting as a job does, masks against the truth, 5 %): most tries on
N photographs of each set of DIR, evenly spread over it, the default recipe on all of them. Speed: forward passes on
one thread, float32 and the candidate by turns, so that what else the machine does falls on both; the ratio of the
medians. A try that would begin after --minutes is left out, and listed.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import bench
import cv2
import numpy as np

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.evaluation.datasets import Example, open_sets
from mattemill.pipeline.models.cache import file_sha256, model_path
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.precision.gate import PhotoScores, Verdict, examples_of, judge, measure
from mattemill.pipeline.precision.qdq import Recipe
from mattemill.pipeline.precision.search import Candidates, Precision
from mattemill.pipeline.training.photographs import photographs
from mattemill.pipeline.training.samples import sample_maker

TOLERANCE = 0.05
COMPOSITES, SIDE = 14, 384
EVERY = 2  # of these pictures is one calibrated on: each recipe looks at them again
PASSES = 15
UNEQUAL = Recipe(move_constants=False, equalise=False)
MOVED = Recipe(move_constants=True, equalise=False)
BOTH = Recipe(move_constants=True, equalise=True)
FIRST = "Conv_0"
OUTLIER = "Conv_787"
"""The layer that alone breaks plain int8 (`mattemill quantize` finds it by its sensitivity)."""

TRIES: dict[str, tuple[Precision, Recipe, tuple[str, ...], bool]] = {
    "int8, channels equalised, 2 layers of 119 in float32": ("int8", Recipe(), (OUTLIER, FIRST), True),
    "int8, channels equalised, all layers": ("int8", Recipe(), (), False),
    "fp16": ("fp16", Recipe(), (), False),
    "int8, all layers": ("int8", UNEQUAL, (), False),
    "int8, 2 layers of 119 in float32": ("int8", UNEQUAL, (OUTLIER, FIRST), False),
    "int8, steady channels moved, first layer in float32": ("int8", MOVED, (FIRST,), False),
    "int8, steady channels moved and channels equalised, all layers": ("int8", BOTH, (), False),
    "int8, steady channels moved and channels equalised, first layer in float32": ("int8", BOTH, (FIRST,), False),
    "fp8 (E4M3), all layers": ("fp8", dataclasses.replace(UNEQUAL, to="fp8"), (), False),
}
"""Name: (precision, recipe, layers in float32, whether all photographs judge it and not only the spread)."""


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--data", type=Path, default=bench.REPOSITORY.parent / "shared" / "evaldata")
    parser.add_argument("--limit", type=int, default=3, help="photographs a set for a quick try (3)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tries whose names hold one of these")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no try after this (60)")
    args = parser.parse_args()
    began = time.monotonic()
    machine = bench.machine()
    cv2.setNumThreads(1)
    card, path = card_of("u2netp"), model_path("u2netp")
    everything = examples_of(open_sets(args.data))
    few = spread(everything, args.limit)
    inputs = calibration()
    bench.say(f"{len(inputs)} calibration inputs, {len(few)} and {len(everything)} photographs to judge on")
    chosen = {name: each for name, each in TRIES.items() if not args.only or any(part in name for part in args.only)}
    assert chosen, "no try has such a name"
    needed = everything if any(on_all for *_, on_all in chosen.values()) else few
    base = {scores.key: scores for scores in measure(card, path, needed)}
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    prepared: dict[tuple[Precision, Recipe], Candidates] = {}
    for name, (to, recipe, kept, on_all) in chosen.items():
        if time.monotonic() - began > args.minutes * 60:
            left_out.append(name)
            continue
        examples = everything if on_all else few
        candidates = prepared.setdefault((to, recipe), Candidates(card, path, to, inputs, recipe))
        row = one(name, candidates, kept, partial(judged, base, examples))
        rows.append(row)
        bench.say(f"{row['try']}: {row['why']}; {row['speed_ratio']} x")
    result = {
        "machine": machine,
        "vnni": "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "network": {"name": "u2netp", "sha256": file_sha256(path)},
        "calibration_inputs": len(inputs),
        "tolerance": TOLERANCE,
        "tries": rows,
        "left_out_for_time": left_out,
    }
    lines = [bench.machine_line(machine)] + [
        f"{'pass' if row['passed'] else 'FAIL'}  IoU {row['iou']:.3f} ({-row['iou_loss']:+.1%})  SAD {row['sad']:.2f} "
        f"({row['sad_rise']:+.1%})  {row['speed_ratio']:.2f} x  {row['megabytes']:.1f} MB  {row['photographs']} "
        f"photographs  {row['try']}"
        for row in rows
    ]
    bench.finish("quantize_u2netp", result, args, lines)


def calibration() -> list[Any]:
    """Network inputs of real photographs and of composites; the order is fixed."""
    contract = card_of("u2netp").input
    made = sample_maker(77, SIDE)
    pictures = [*photographs(), *(made(index).photo for index in range(COMPOSITES))]
    assert len(pictures) > COMPOSITES, "the photographs of scikit-image and of tests/samples are not there"
    return [card_input(np.asarray(picture, np.uint8), contract) for picture in pictures[::EVERY]]


def spread(examples: Sequence[Example], per_set: int) -> list[Example]:
    """So many photographs of each set, evenly from its first to its last."""
    found: list[Example] = []
    for _, members in groupby(examples, key=lambda example: example.key.split("/")[0]):
        each = list(members)
        places = np.linspace(0, len(each) - 1, min(per_set, len(each))).round().astype(int)
        found += [each[at] for at in places]
    return found


def judged(base: Mapping[str, PhotoScores], examples: Sequence[Example], file: Path) -> Verdict:
    """What the gate says of a file over these photographs."""
    scores = measure(card_of("u2netp"), file, examples)
    return judge([base[each.key] for each in scores], scores, TOLERANCE)


def one(
    name: str, candidates: Candidates, kept: tuple[str, ...], judge_file: Callable[[Path], Verdict]
) -> dict[str, Any]:
    """Make, judge and time one candidate."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "candidate.onnx"
        file.write_bytes(candidates.make(kept).to_bytes())
        megabytes = file.stat().st_size / 1e6
        verdict = judge_file(file)
        times = by_turns(candidates, file)
    return {
        "try": name,
        "to": candidates.to,
        "recipe": dataclasses.asdict(candidates.recipe) if candidates.to != "fp16" else None,
        "kept_in_float32": list(kept),
        "moved_channels": [dataclasses.asdict(each) for each in candidates.moved],
        "photographs": verdict.photographs,
        "passed": verdict.passed,
        "iou": round(verdict.other_iou, 4),
        "base_iou": round(verdict.base_iou, 4),
        "iou_loss": round(verdict.iou_loss.mean, 4),
        "iou_loss_interval": [round(verdict.iou_loss.low or 0, 4), round(verdict.iou_loss.high or 0, 4)],
        "sad": round(verdict.other_sad, 3),
        "base_sad": round(verdict.base_sad, 3),
        "sad_rise": round(verdict.sad_rise.mean, 4),
        "sad_rise_interval": [round(verdict.sad_rise.low or 0, 4), round(verdict.sad_rise.high or 0, 4)],
        "sure": verdict.sure,
        "why": verdict.why,
        "megabytes": round(megabytes, 2),
        **times,
    }


def by_turns(candidates: Candidates, file: Path) -> dict[str, Any]:
    """Milliseconds of a pass of each, and their ratio."""
    card = candidates.card
    engines = [OnnxRuntimeEngine(path, outputs=card.output.names[:1]) for path in (candidates.path, file)]
    taken: list[list[float]] = [[], []]
    for number in range(PASSES + 1):
        given = {card.input.name: candidates.inputs[number % len(candidates.inputs)]}
        for engine, times in zip(engines, taken, strict=True):
            began = time.perf_counter()
            engine.run(given)
            times.append(time.perf_counter() - began)
    warm = [times[1:] for times in taken]
    assert [len(times) for times in warm] == [PASSES, PASSES]
    base, other = (bench.median(times) * 1000 for times in warm)
    return {
        "passes": PASSES,
        "float32_ms": round(base, 1),
        "candidate_ms": round(other, 1),
        "speed_ratio": round(base / other, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
