"""A person who corrects bad mattes with strokes: how much each stroke helps on the photographs that are cut badly.

Every photograph of ../shared/evaldata with a mask is cut without a hint (thresholds at 0, so that nothing is refused);
those with an IoU under .7 are the hard ones. On these a person is simulated (`simulated_strokes.py`): one stroke along
the middle of the largest wrong region, written into a PNG and given to `Cutter.cut` with the photograph, as `mattemill
cut --strokes` does; then the next stroke on what came out, up to three. IoU of the matte at one half, at full size.

`--images N` takes every N-th hard photograph only, for a quick look.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bench
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from simulated_strokes import next_stroke

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import CutFailedError, Cutter
from mattemill.pipeline.hints import read_strokes

EVALDATA = bench.REPOSITORY.parent / "shared" / "evaldata"
HARD = 0.7
STROKES = 3
_TRUTHS = ("alpha", "mask", "mask_main")
_NOT_COUNTED = 128  # in the masks of vgg_iseg151

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Case:
    """A photograph, its truth, and where the truth counts: bool (H, W)."""

    set: str
    name: str
    data: bytes
    truth: Mask
    counted: Mask


def main(arguments: list[str] | None = None) -> int:
    parser = bench.parser(__doc__)
    parser.add_argument("--images", type=int, default=1, metavar="N", help="every N-th hard photograph (1 = all)")
    parser.add_argument("--strokes", type=int, default=STROKES, metavar="N", help=f"a photograph, at most ({STROKES})")
    args = parser.parse_args(arguments)
    if not EVALDATA.is_dir():
        bench.say("../shared/evaldata is not here: nothing to measure")
        return 1
    machine = bench.machine()
    cutter = Cutter(JobConfig(subject_threshold=0.0, confidence_threshold=0.0))
    cases = 0
    hard: list[tuple[Case, Mask, float]] = []
    for case in _cases():
        cases += 1
        matte = _cut(cutter, case, None)[0]
        if (found := _iou(matte, case)) < HARD:
            hard.append((case, matte, found))
    bench.say(f"{len(hard)} of {cases} photographs have an IoU under {HARD} without strokes")
    rows = []
    for case, matte, found in hard[:: args.images]:
        rows.append(_corrected(cutter, case, matte, found, args.strokes))
        bench.say(
            f"{case.set}/{case.name} {rows[-1]['strokes']:3} " + " ".join(f"{iou:.3f}" for iou in rows[-1]["iou"])
        )
    groups = {"all": rows} | {
        name: [r for r in rows if r["set"] == name] for name in dict.fromkeys(r["set"] for r in rows)
    }
    sets = {name: _summary(group) for name, group in groups.items()}
    seconds = [second for row in rows for second in row["seconds"]]
    result: dict[str, Any] = {
        "machine": machine,
        "photographs": cases,
        "hard": len(hard),
        "hard_means_iou_under": HARD,
        "sets": sets,
        "seconds_a_stroke": {"median": round(bench.median(seconds), 3), "most": round(max(seconds), 3)},
        "rows": rows,
    }
    lines = [bench.machine_line(machine), "set, photographs, IoU without strokes and after each, gain after each"]
    for name, found_set in sets.items():
        ious = " ".join(f"{iou:.3f}" for iou in found_set["iou"])
        lines.append(
            f"{name:18} {found_set['photographs']:3}  {ious}   {' '.join(f'{g:+.3f}' for g in found_set['gain'])}"
        )
    lines.append(
        f"seconds a stroke: median {result['seconds_a_stroke']['median']}, most {result['seconds_a_stroke']['most']}"
    )
    bench.finish("strokes", result, args, lines)
    return 0


def _cases() -> Iterator[Case]:
    for folder in sorted(path for path in EVALDATA.iterdir() if (path / "image").is_dir()):
        for photo in sorted((folder / "image").iterdir()):
            truths = [folder / kind / f"{photo.stem}.png" for kind in _TRUTHS]
            truth = next((path for path in truths if path.is_file()), None)
            if truth is not None:
                values = np.asarray(Image.open(truth).convert("L"))
                counted = values != _NOT_COUNTED if truth.parent.name == "mask" else np.ones(values.shape, bool)
                yield Case(folder.name, photo.stem, photo.read_bytes(), values >= 128, counted)


def _cut(cutter: Cutter, case: Case, strokes: bytes | None) -> tuple[Mask, float]:
    """The matte at one half, and seconds; nothing at all is a matte of nothing."""
    began = time.perf_counter()
    try:
        size = (case.truth.shape[1], case.truth.shape[0])
        hint = read_strokes(strokes, "strokes", size) if strokes is not None else None
        matte = cutter.cut(case.data, hint).pixels >= 128
    except CutFailedError:
        matte = np.zeros(case.truth.shape, bool)
    return matte, time.perf_counter() - began


def _corrected(cutter: Cutter, case: Case, matte: Mask, iou: float, strokes: int) -> dict[str, Any]:
    drawn = np.zeros((*case.truth.shape, 4), np.uint8)
    row: dict[str, Any] = {"set": case.set, "name": case.name, "strokes": "", "iou": [round(iou, 4)], "seconds": []}
    for _ in range(strokes):
        stroke = next_stroke(matte, case.truth, case.counted)
        if stroke is None:  # nothing is wrong any more
            row["iou"].append(row["iou"][-1])
            continue
        drawn[stroke.pixels] = (0, 255, 0, 255) if stroke.keep else (255, 0, 0, 255)
        file = io.BytesIO()
        Image.fromarray(drawn).save(file, "PNG")
        matte, seconds = _cut(cutter, case, file.getvalue())
        row["strokes"] += "+" if stroke.keep else "-"
        row["iou"].append(round(_iou(matte, case), 4))
        row["seconds"].append(round(seconds, 3))
    return row


def _iou(matte: Mask, case: Case) -> float:
    both = np.count_nonzero(matte & case.truth & case.counted)
    either = np.count_nonzero((matte | case.truth) & case.counted)
    return both / either if either else 1.0


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    ious = np.array([row["iou"] for row in rows])
    means = ious.mean(axis=0)
    return {
        "photographs": len(rows),
        "iou": [round(float(mean), 4) for mean in means],
        "gain": [round(float(mean - means[0]), 4) for mean in means[1:]],
        "worse_after_one": int(np.count_nonzero(ious[:, 1] < ious[:, 0] - 0.02)),
    }


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
