"""u2netp in eight bits and in half precision: what each measure of the recipe is worth, behind the gate, and the speed.

    python benchmarks/quantize_u2netp.py [--data DIR] [--limit N] [--only NAME...] [--json] [--save]

Calibrated on photographs that packages ship and on generated composites, none of them evaluation data. Judged by
`mattemill.pipeline.precision.gate` (finding and segmenting as a job does, masks against the truth, 5 %) on the first N
photographs of each set of DIR. Speed: forward passes on one thread, float32 and the candidate by turns, so that what
else the machine does falls on both; the ratio of the medians. Each number of passes and photographs is asserted.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench
import cv2
import numpy as np

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.evaluation.datasets import open_sets
from mattemill.pipeline.models.cache import file_sha256, model_path
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.precision.gate import examples_of, judge, measure
from mattemill.pipeline.precision.qdq import Recipe
from mattemill.pipeline.precision.search import Candidates, Precision
from mattemill.pipeline.training.photographs import photographs
from mattemill.pipeline.training.samples import sample_maker

TOLERANCE = 0.05
COMPOSITES, SIDE = 14, 384
PASSES = 15
PLAIN = Recipe(clip=False, correct_bias=False, move_constants=False, equalise=False)
MOVED = dataclasses.replace(PLAIN, move_constants=True)
EQUAL = dataclasses.replace(PLAIN, equalise=True)
OUTLIER = "Conv_787"
"""The layer that alone breaks plain int8 (`mattemill quantize` finds it by its sensitivity)."""

TRIES: dict[str, tuple[Precision, Recipe, tuple[str, ...]]] = {
    "int8 plain: per-channel weights, least and largest activation": ("int8", PLAIN, ()),
    "+ clipped ranges (least squared error)": ("int8", dataclasses.replace(PLAIN, clip=True), ()),
    "+ bias correction": ("int8", dataclasses.replace(PLAIN, clip=True, correct_bias=True), ()),
    "+ one layer of 119 in float32": ("int8", dataclasses.replace(PLAIN, clip=True, correct_bias=True), (OUTLIER,)),
    "int8, steady channels moved": ("int8", MOVED, ()),
    "int8, channels equalised": ("int8", EQUAL, ()),
    "int8, moved, equalised, clipped, bias corrected": ("int8", Recipe(weight_bits=8), ()),
    "the same with weights of 7 bits": ("int8", Recipe(weight_bits=7), ()),
    "the same, signed activations (TensorRT's)": ("int8", Recipe(weight_bits=7, activations="int8"), ()),
    "fp16": ("fp16", Recipe(), ()),
    "fp8 (E4M3), moved, equalised, bias corrected": ("fp8", Recipe(to="fp8"), ()),
}


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--data", type=Path, default=bench.REPOSITORY.parent / "shared" / "evaldata")
    parser.add_argument("--limit", type=int, default=5, help="photographs a set (5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tries whose names hold one of these")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    card, path = card_of("u2netp"), model_path("u2netp")
    examples = examples_of(open_sets(args.data, limit=args.limit))
    inputs = calibration()
    bench.say(f"{len(inputs)} calibration inputs, {len(examples)} photographs to judge on")
    base = measure(card, path, examples)
    rows = []
    prepared: dict[tuple[Precision, Recipe], Candidates] = {}
    for name, (to, recipe, kept) in TRIES.items():
        if args.only and not any(part in name for part in args.only):
            continue
        candidates = prepared.setdefault((to, recipe), Candidates(card, path, to, inputs, recipe))
        row = one(name, candidates, kept, lambda file: judge(base, measure(card, file, examples), TOLERANCE))
        rows.append(row)
        bench.say(f"{row['try']}: {row['why']}; {row['speed_ratio']} x")
    assert rows, "no try has such a name"
    result = {
        "machine": bench.machine(),
        "vnni": "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "network": {"name": "u2netp", "sha256": file_sha256(path)},
        "calibration_inputs": len(inputs),
        "photographs": len(examples),
        "tolerance": TOLERANCE,
        "tries": rows,
    }
    lines = [bench.machine_line(result["machine"])] + [
        f"{'pass' if row['passed'] else 'FAIL'}  IoU {row['iou']:.3f} ({-row['iou_loss']:+.1%})  SAD {row['sad']:.2f} "
        f"({row['sad_rise']:+.1%})  {row['speed_ratio']:.2f} x  {row['megabytes']:.1f} MB  {row['try']}"
        for row in rows
    ]
    bench.finish("quantize_u2netp", result, args, lines)


def calibration() -> list[Any]:
    """Network inputs of real photographs and of composites; the order is fixed."""
    contract = card_of("u2netp").input
    made = sample_maker(77, SIDE)
    pictures = [*photographs(), *(made(index).photo for index in range(COMPOSITES))]
    assert len(pictures) > COMPOSITES, "the photographs of scikit-image and of tests/samples are not there"
    return [card_input(np.asarray(picture, np.uint8), contract) for picture in pictures]


def one(name: str, candidates: Candidates, kept: tuple[str, ...], judged: Callable[[Path], Any]) -> dict[str, Any]:
    """Make, judge and time one candidate."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "candidate.onnx"
        file.write_bytes(candidates.make(kept).to_bytes())
        megabytes = file.stat().st_size / 1e6
        verdict = judged(file)
        times = by_turns(candidates, file)
    return {
        "try": name,
        "to": candidates.to,
        "recipe": dataclasses.asdict(candidates.recipe) if candidates.to != "fp16" else None,
        "kept_in_float32": list(kept),
        "moved_channels": [dataclasses.asdict(each) for each in candidates.moved],
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
