"""u2netp in eight bits and in half precision: what each measure of the recipe is worth, behind the gate, and the speed.

    python benchmarks/quantize_u2netp.py [--data DIR] [--limit N] [--only NAME...] [--scores DIR] [--json] [--save]

Calibrated on photographs that packages ship and on generated composites, none of them evaluation data. Judged by
`mattemill.pipeline.precision.gate` (finding and segmenting as a job does, masks against the truth, 5 %) on all
photographs of DIR that it takes, or on N of each set, evenly spread. How near a candidate's maps are to the network's
own is told, too, over pictures of neither kind: by those figures recipes are chosen. Speed: forward passes on one
thread, float32 and the candidate by turns, in seconds of the core, so that what else the machine does falls on both
and waiting for a core on neither; the ratio of the medians, and the quartiles of the ratios of single turns.
--scores keeps what was measured of a file, by its hash, and measures no file twice: a run that was stopped goes on,
and the float32 network is measured once. A try that would begin after --minutes is left out, and listed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import bench
import cv2
import numpy as np
import numpy.typing as npt

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
COMPOSITES, OTHERS, SIDE = 22, 16, 384  # to calibrate on, beside real photographs; and others
CROP = 0.7  # of a photograph's sides, from its middle and mirrored: a picture that was not calibrated on
LEAST = 1000  # pixels in the network's own map, from which its overlap with another says something
PASSES = 31
FIRST = "Conv_0"
PLAIN = Recipe(by_kernel=False, move_constants=False, equalise=False, pixels=False, light=0.0)

TRIES: dict[str, tuple[Precision, Recipe, tuple[str, ...]]] = {
    "int8": ("int8", Recipe(), ()),
    "fp16": ("fp16", Recipe(), ()),
    "int8 without measures": ("int8", PLAIN, ()),
    "fp8 (E4M3)": ("fp8", Recipe(to="fp8"), ()),
    "int8, channels equalised only": ("int8", dataclasses.replace(PLAIN, equalise=True), ()),
    "int8, steady channels moved only, first layer in float32": (
        "int8",
        dataclasses.replace(PLAIN, move_constants=True),
        (FIRST,),
    ),
}
"""Name: (precision, recipe, layers in float32). Whatever a name does not tell is as `mattemill quantize` does it."""


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--data", type=Path, default=bench.REPOSITORY.parent / "shared" / "evaldata")
    parser.add_argument("--limit", type=int, metavar="N", help="photographs a set for a quick try (all)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tries whose names hold one of these")
    parser.add_argument("--scores", type=Path, metavar="DIR", help="keep and reuse what was measured of each file")
    parser.add_argument("--minutes", type=float, default=120.0, help="begin no try after this (120)")
    args = parser.parse_args()
    began = time.monotonic()
    machine = bench.machine()
    cv2.setNumThreads(1)
    card, path = card_of("u2netp"), model_path("u2netp")
    examples = examples_of(open_sets(args.data))
    if args.limit is not None:
        examples = tuple(spread(examples, args.limit))
    inputs, others = pictures()
    bench.say(f"{len(inputs)} calibration inputs, {len(others)} others, {len(examples)} photographs to judge on")
    chosen = {name: each for name, each in TRIES.items() if not args.only or any(part in name for part in args.only)}
    assert chosen, "no try has such a name"
    measured = partial(scores_of, examples, args.scores)
    base, own = measured(path), outputs(path, others)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    prepared: dict[tuple[Precision, Recipe], Candidates] = {}
    for name, (to, recipe, kept) in chosen.items():
        if time.monotonic() - began > args.minutes * 60:
            left_out.append(name)
            continue
        candidates = prepared.setdefault((to, recipe), Candidates(card, path, to, inputs, recipe))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "candidate.onnx"
            file.write_bytes(candidates.make(kept).to_bytes())
            verdict = judge(base, measured(file), TOLERANCE)
            near = nearness(own, outputs(file, others))
            rows.append(row(name, candidates, kept, file, verdict) | near | by_turns(candidates, file))
        bench.say(f"{name}: {verdict.why}; {rows[-1]['speed_ratio']} x; {near}")
    result = {
        "machine": machine,
        "vnni": "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "network": {"name": "u2netp", "sha256": file_sha256(path)},
        "calibration_inputs": len(inputs),
        "other_inputs": len(others),
        "tolerance": TOLERANCE,
        "tries": rows,
        "left_out_for_time": left_out,
    }
    lines = [bench.machine_line(machine)] + [
        f"{'pass' if row['passed'] else 'FAIL'}{' surely' if row['sure'] else ''}  IoU {row['iou']:.3f} "
        f"({-row['iou_loss']:+.1%})  SAD {row['sad']:.2f} ({row['sad_rise']:+.1%})  {row['speed_ratio']:.2f} x  "
        f"{row['megabytes']:.1f} MB  {row['photographs']} photographs  {row['try']}"
        for row in rows
    ]
    bench.finish("quantize_u2netp", result, args, lines)


def pictures() -> tuple[list[Any], list[Any]]:
    """Network inputs of real photographs and of composites, to calibrate on and others; the order is fixed."""
    contract = card_of("u2netp").input
    real, made, further = photographs(), sample_maker(77, SIDE), sample_maker(78, SIDE)
    assert len(real) > 1, "the photographs of scikit-image and of tests/samples are not there"
    calibrating = [*real, *(made(index).photo for index in range(COMPOSITES))]
    others = [*(middle(each) for each in real), *(further(index).photo for index in range(OTHERS))]
    read = [[card_input(np.asarray(each, np.uint8), contract) for each in some] for some in (calibrating, others)]
    return read[0], read[1]


def middle(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middle of a picture, uint8 (H, W, 3), mirrored."""
    rows, columns = (round(size * (1 - CROP) / 2) for size in picture.shape[:2])
    return np.ascontiguousarray(picture[rows:-rows, columns:-columns][:, ::-1])


def spread(examples: Sequence[Example], per_set: int) -> list[Example]:
    """So many photographs of each set, evenly from its first to its last."""
    found: list[Example] = []
    for _, members in groupby(examples, key=lambda example: example.key.split("/")[0]):
        each = list(members)
        places = np.linspace(0, len(each) - 1, min(per_set, len(each))).round().astype(int)
        found += [each[at] for at in places]
    return found


def scores_of(examples: Sequence[Example], folder: Path | None, file: Path) -> list[PhotoScores]:
    """What the gate measures of a network's masks; taken from the folder where it was measured before."""
    kept = folder / f"{file_sha256(file)}.json" if folder is not None else None
    known: dict[str, PhotoScores] = {}
    if kept is not None and kept.exists():
        known = {each["key"]: PhotoScores(**each) for each in json.loads(kept.read_text(encoding="utf-8"))}
    due = [each for each in examples if each.key not in known]
    if due:
        tell = _Progress()
        known |= {each.key: each for each in measure(card_of("u2netp"), file, due, on_done=tell)}
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps([dataclasses.asdict(each) for each in known.values()])
            kept.write_text(content, encoding="utf-8")
    return [known[each.key] for each in examples]


class _Progress:
    """A line on stderr for every 20 photographs."""

    def __call__(self, done: int, of: int) -> None:
        if done % 20 == 0:
            bench.say(f"  {done} of {of} photographs")


def outputs(file: Path, inputs: Sequence[Any]) -> npt.NDArray[np.float32]:
    """The network's raw maps, float32 (n, h, w) in 0..1."""
    card = card_of("u2netp")
    engine = OnnxRuntimeEngine(file, outputs=card.output.names[:1])
    return np.concatenate([engine.run({card.input.name: each})[card.output.names[0]][:, 0] for each in inputs])


def nearness(own: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> dict[str, float]:
    """Mean absolute difference of raw maps in 0..255, and their mean IoU where the network itself finds something."""
    error = np.abs(own - other).mean(axis=(1, 2)) * 255
    a, b = own >= 0.5, other >= 0.5
    overlaps = [(x & y).sum() / (x | y).sum() for x, y in zip(a, b, strict=True) if x.sum() >= LEAST]
    return {
        "map_error": round(float(error.mean()), 3),
        "map_error_median": round(float(np.median(error)), 3),
        "map_iou": round(float(np.mean(overlaps)), 4),
    }


def row(name: str, candidates: Candidates, kept: tuple[str, ...], file: Path, verdict: Verdict) -> dict[str, Any]:
    """What a candidate is and what the gate says of it."""
    return {
        "try": name,
        "to": candidates.to,
        "recipe": dataclasses.asdict(candidates.recipe) if candidates.to != "fp16" else None,
        "kept_in_float32": list(kept),
        "light_in_float32": len(candidates.light),
        "moved_channels": [dataclasses.asdict(each) for each in candidates.moved],
        "sha256": file_sha256(file),
        "photographs": verdict.photographs,
        "passed": verdict.passed,
        "sure": verdict.sure,
        "iou": round(verdict.other_iou, 4),
        "base_iou": round(verdict.base_iou, 4),
        "iou_loss": round(verdict.iou_loss.mean, 4),
        "iou_loss_interval": [round(verdict.iou_loss.low or 0, 4), round(verdict.iou_loss.high or 0, 4)],
        "sad": round(verdict.other_sad, 3),
        "base_sad": round(verdict.base_sad, 3),
        "sad_rise": round(verdict.sad_rise.mean, 4),
        "sad_rise_interval": [round(verdict.sad_rise.low or 0, 4), round(verdict.sad_rise.high or 0, 4)],
        "why": verdict.why,
        "megabytes": round(file.stat().st_size / 1e6, 2),
    }


def by_turns(candidates: Candidates, file: Path) -> dict[str, Any]:
    """Milliseconds of the core that a pass of each takes, and their ratio; sessions of one thread run in the caller's.

    The first turn only warms up.
    """
    card = candidates.card
    engines = [OnnxRuntimeEngine(path, outputs=card.output.names[:1]) for path in (candidates.path, file)]
    taken: list[list[float]] = [[], []]
    for number in range(PASSES + 1):
        given = {card.input.name: candidates.inputs[number % len(candidates.inputs)]}
        for engine, times in zip(engines, taken, strict=True):
            began = time.thread_time()
            engine.run(given)
            times.append(time.thread_time() - began)
    base, other = (np.array(times[1:]) * 1000 for times in taken)
    assert len(base) == len(other) == PASSES
    low, high = np.quantile(base / other, (0.25, 0.75))
    return {
        "passes": PASSES,
        "float32_ms": round(float(np.median(base)), 1),
        "candidate_ms": round(float(np.median(other)), 1),
        "speed_ratio": round(float(np.median(base) / np.median(other)), 3),
        "speed_ratio_quartiles": [round(float(low), 3), round(float(high), 3)],
    }


if __name__ == "__main__":
    sys.exit(main())
