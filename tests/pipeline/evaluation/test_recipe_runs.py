"""A recipe over a data set, with the real network: what a row says, and what an evaluation adds up to."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.contest import Contestant, contestants
from mattemill.pipeline.evaluation.datasets import Truth, derived_band, open_sets
from mattemill.pipeline.evaluation.evaluation import Evaluation, evaluate
from mattemill.pipeline.evaluation.panels import draw_panels, worst_place
from mattemill.pipeline.evaluation.runner import Row, Runner
from mattemill.pipeline.evaluation.summary import figures
from mattemill.pipeline.evaluation.workers import Task, run_tasks
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.recipes import Recipe, find_recipe
from mattemill.pipeline.stages.refine import Trimap

pytestmark = pytest.mark.usefixtures("u2netp")


@pytest.fixture(scope="module")
def rows(small_set: Path) -> dict[str, Row]:
    """By name of the photograph, as the default recipe does it."""
    run = Runner(contestants([])[0])
    return {example.name: run(example, panels=True) for example in open_sets(small_set)[0].examples}


@pytest.fixture(scope="module")
def compared(small_set: Path) -> Evaluation:
    """Guided and none on two processes."""
    return evaluate(open_sets(small_set), contestants([], ["guided", "none"]), jobs=2)


def test_a_good_matte_has_good_scores_and_its_times(rows: dict[str, Row]) -> None:
    mug = rows["mug"]
    assert mug.outcome == "matte"
    assert mug.scores.iou is not None
    assert mug.scores.iou > 0.9
    assert mug.mask != mug.scores
    assert set(mug.cpu_ms) == set(mug.wall_ms) == {"cut", "detect", "segment", "matte", "refine"}
    for times in (mug.cpu_ms, mug.wall_ms):
        assert 0 < times["refine"] < times["matte"] < times["cut"]
        assert times["detect"] + times["segment"] + times["matte"] <= times["cut"] + 1
    assert mug.figures["confidence"] > 0.3
    assert mug.unknown_pixels > 0
    assert mug.peak_mb is None or 50 < mug.peak_mb < 5000


def test_a_photograph_without_a_subject_counts_as_an_empty_matte(rows: dict[str, Row]) -> None:
    nothing = rows["nothing"]
    assert nothing.outcome == "no_subject"
    assert (nothing.scores.iou, nothing.scores.sad) == (1.0, 0.0)  # and here that is right
    assert nothing.mask == nothing.scores


def test_a_truth_that_was_missed_costs_all_of_it(small_set: Path) -> None:
    none = next(e for e in open_sets(small_set)[0].examples if e.name == "nothing")
    full = np.full((120, 160), 255, np.uint8)
    path = small_set.parent / "full.png"
    cv2.imwrite(str(path), full)
    row = Runner(contestants([])[0])(replace(none, truth=path))
    assert (row.outcome, row.scores.iou, row.scores.mae) == ("no_subject", 0.0, 1.0)
    assert row.scores.sad == pytest.approx(19.2)


def test_low_confidence_hides_no_result_and_is_counted(small_set: Path) -> None:
    strict = contestants([Recipe("strict", {"confidence_threshold": 1.0})])[0]
    mug = next(e for e in open_sets(small_set)[0].examples if e.name == "mug")
    row = Runner(strict)(mug)
    assert (row.outcome, row.refused) == ("matte", True)
    assert row.scores.iou is not None
    assert row.scores.iou > 0.9
    assert figures([row])["refused"] == 1


def test_panels_are_small_pictures_of_one_size(rows: dict[str, Row]) -> None:
    panels = rows["mug"].panels
    assert panels is not None
    files = (panels.photo, panels.truth, panels.result, panels.error)
    headers = {simplejpeg.decode_jpeg_header(file)[:2] for file in files}
    assert headers == {(300, 225)}
    assert all(len(file) < 40_000 for file in files)
    right = simplejpeg.decode_jpeg(panels.error)
    blue = (right[..., 2].astype(int) - right[..., 0] > 60).mean()
    assert blue < 0.05  # little is missing from a good matte


class _Kept:
    """A refiner that keeps what it was given."""

    def __init__(self) -> None:
        self.bands: list[Trimap | None] = []

    def __call__(self, image: Rgb, soft: Alpha, bands: Trimap | None = None) -> Alpha:
        self.bands.append(bands)
        return soft


@pytest.mark.parametrize(("trimap", "given"), [("auto", [False, False]), ("supplied", [True, False])])
def test_a_supplied_trimap_reaches_the_refiner_where_the_set_has_one(
    small_set: Path, monkeypatch: pytest.MonkeyPatch, trimap: str, given: list[bool]
) -> None:
    kept = _Kept()
    monkeypatch.setattr(Contestant, "refiner", lambda self: kept)
    run = Runner(contestants([], trimap=trimap)[0])  # type: ignore[arg-type]
    examples = [e for e in open_sets(small_set)[0].examples if e.name != "nothing"]
    supplied = [run(example).supplied_trimap for example in examples]
    assert supplied == given
    assert [bands is not None for bands in kept.bands] == given


def test_a_supplied_trimap_is_honoured(small_set: Path) -> None:
    mug = next(e for e in open_sets(small_set)[0].examples if e.name == "mug")
    wrong = small_set.parent / "left-half.png"
    cv2.imwrite(str(wrong), np.where(np.arange(300)[None, :] < 150, 255, 0).repeat(400, axis=0).astype(np.uint8))
    row = Runner(contestants([], trimap="supplied")[0])(replace(mug, trimap=wrong))
    truth = cv2.imread(str(small_set / "alpha" / "mug.png"), cv2.IMREAD_GRAYSCALE) / 255.0
    half = np.zeros((400, 300))
    half[:, :150] = 1
    assert row.scores.sad == pytest.approx(np.abs(half - truth).sum() / 1000, rel=1e-4)


def test_recipes_are_compared_on_the_same_photographs(compared: Evaluation) -> None:
    assert [each.recipe for each in compared.summaries] == ["guided", "none"]
    assert [row.name for row in compared.rows["none"]] == ["mug", "nothing", "white-vase"]
    iou = next(each for each in compared.comparisons if (each.group, each.figure) == ("all", "iou"))
    assert (iou.a, iou.b, iou.difference.n) == ("guided", "none", 3)
    by_row = [
        (b.scores.iou or 0) - (a.scores.iou or 0)
        for a, b in zip(compared.rows["guided"], compared.rows["none"], strict=True)
    ]
    assert iou.difference.mean == pytest.approx(sum(by_row) / 3)


def test_the_matte_of_none_is_the_soft_mask(compared: Evaluation) -> None:
    for row in compared.rows["none"]:
        assert row.mask.sad == pytest.approx(row.scores.sad, rel=1e-5)


def test_figures_are_means_and_failures_are_counted(compared: Evaluation) -> None:
    found = compared.summaries[0].groups["all"]
    rows = compared.rows["guided"]
    assert (found["n"], found["failed"]) == (3, 1)
    assert found["sad"] == pytest.approx(sum(row.scores.sad or 0 for row in rows) / 3)
    assert found["mask_iou"] == pytest.approx(sum(row.mask.iou or 0 for row in rows) / 3)
    assert found["cpu_ms"] == pytest.approx(sum(row.cpu_ms["cut"] for row in rows) / 3)


def test_an_evaluation_is_plain_data(compared: Evaluation) -> None:
    content = json.loads(json.dumps({**compared.to_json(), "photographs": compared.photographs_json()}))
    assert [recipe["settings"] for recipe in content["recipes"]] == [{"refine": "guided"}, {"refine": "none"}]
    assert content["recipes"][0]["fingerprint"] != content["recipes"][1]["fingerprint"]
    assert len(content["photographs"]) == 6
    assert content["sets"]["small"] == {"photographs": 3, "in_all": True, "truth": ["alpha"]}


def test_processes_end_when_nobody_reads_on(small_set: Path) -> None:
    tasks = [Task(example) for example in open_sets(small_set)[0].examples] * 5
    before = set(multiprocessing.active_children())
    results = run_tasks(contestants([])[0], tasks, 2)
    assert isinstance(next(results), Row)
    results.close()  # type: ignore[attr-defined]
    assert set(multiprocessing.active_children()) <= before


def test_an_error_in_a_process_comes_out_and_ends_the_others(small_set: Path) -> None:
    examples = open_sets(small_set)[0].examples
    bad = replace(examples[0], truth=examples[2].image)
    before = set(multiprocessing.active_children())
    with pytest.raises(UsageError, match=r"\.png: is (a colour picture|\d+x\d+)"):
        list(run_tasks(contestants([])[0], [Task(bad), *(Task(e) for e in examples)], 2))
    assert set(multiprocessing.active_children()) <= before


def test_contestants_are_named_after_what_differs() -> None:
    fast, best = find_recipe("fast"), find_recipe("best")
    assert [c.name for c in contestants([])] == ["default"]
    assert [c.name for c in contestants([], ["guided", "none"])] == ["guided", "none"]
    assert [c.name for c in contestants([fast, best])] == ["fast", "best"]
    assert [c.name for c in contestants([fast, best], ["none"])] == ["fast+none", "best+none"]
    with pytest.raises(UsageError, match="recipe fast: takes part twice"):
        contestants([fast, fast])


def test_an_evaluated_recipe_gives_out_its_matte_in_the_photographs_frame() -> None:
    made = contestants([Recipe("shop", {"output": "composite", "canvas": "500x500", "confidence_threshold": 0.7})])[0]
    assert (made.config.output, made.config.canvas, made.config.confidence_threshold) == ("matte", None, 0.0)
    assert made.threshold == 0.7


def test_every_refinement_of_a_job_can_be_compared() -> None:
    for name in ("network", "guided", "none"):
        assert contestants([], [name])[0].config.refine == name


_CLOSED_FORM = """
import numpy as np
from mattemill.pipeline.evaluation.closed_form import ClosedFormRefiner

alpha = np.clip((np.arange(40, dtype=np.float32) - 15) / 10, 0, 1)[None, :].repeat(12, axis=0)
image = np.rint(alpha[..., None] * (200, 40, 60) + (1 - alpha[..., None]) * (20, 90, 220)).astype(np.uint8)
bands = np.where(np.arange(40) < 12, 0, np.where(np.arange(40) > 28, 255, 128))[None, :].repeat(12, axis=0)
soft = np.full((12, 40), 0.4, np.float32)
refine = ClosedFormRefiner()
print(np.abs(refine(image, soft, bands.astype(np.uint8)) - alpha).max())
print(np.abs(refine(image, soft, np.full((12, 40), 128, np.uint8)) - soft).max())
"""


@pytest.mark.skipif(importlib.util.find_spec("pymatting") is None, reason="needs pymatting, which is not installed")
def test_closed_form_matting_finds_an_edge_in_a_trimap_and_keeps_the_mask_without_one() -> None:
    # In a process without numba's compiler, which would take minutes at pymatting's first import.
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CLOSED_FORM], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    at_the_edge, without = map(float, done.stdout.split())
    assert at_the_edge < 0.03
    assert without == 0


def test_closed_form_matting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"closed_form needs pymatting.*pip install 'mattemill\[evaluate\]'"):
        contestants([], ["closed_form"])


def test_instances_say_what_to_install(small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image").symlink_to(small_set / "image")
    (tmp_path / "instances.json").write_text("{}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"instances\.json .* needs pycocotools.*pip install"):
        evaluate(open_sets(tmp_path), contestants([]), jobs=1)


def test_the_worst_place_is_the_window_that_holds_most_of_the_error() -> None:
    error = np.zeros((50, 90), np.float32)
    error[3, 4] = 0.9
    error[30:34, 60:66] = 0.2
    assert worst_place(error, (10, 20)) == (slice(24, 34), slice(46, 66))
    assert worst_place(error, (60, 100)) == (slice(0, 50), slice(0, 90))


def test_the_worst_edge_of_a_large_photograph_is_drawn_pixel_for_pixel() -> None:
    alpha = np.zeros((700, 900), np.float32)
    alpha[:, 450:] = 1
    truth = Truth(alpha, None, True, derived_band(alpha), False)
    found = alpha.copy()
    found[600:640, 448:450] = 1
    panels = draw_panels(np.full((700, 900, 3), 90, np.uint8), truth, found)
    assert panels.detail is not None
    error = simplejpeg.decode_jpeg(panels.detail.error)
    assert error.shape[:2] == (220, 300)
    red = error[..., 0].astype(int) - error[..., 2] > 100
    assert 60 <= red.sum() <= 160  # the 80 pixels that are too much, a little blurred by JPEG's colours
    whole = simplejpeg.decode_jpeg(panels.error)
    assert (whole[..., 0].astype(int) - whole[..., 2]).max() > 60
