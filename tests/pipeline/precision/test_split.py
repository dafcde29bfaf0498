"""Calibration and evaluation never share a photograph."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.datasets import Example, open_sets
from mattemill.pipeline.precision.gate import examples_of
from mattemill.pipeline.precision.split import Split, split


def dotted(folder: Path, count: int, first: int = 0) -> Path:
    """A set of tiny photographs, all different."""
    for sub in ("image", "mask"):
        (folder / sub).mkdir(parents=True)
        for number in range(first, first + count):
            Image.new("L", (4, 4), number % 256 if sub == "image" else 255).save(folder / sub / f"{number}.png")
    return folder


def judged(folder: Path) -> tuple[Example, ...]:
    return examples_of(open_sets(folder))


def overlap(parts: Split) -> set[str]:
    ours = {hashlib.sha256(each.path.read_bytes()).hexdigest() for each in parts.calibration}
    assert ours == {each.sha256 for each in parts.calibration}
    return ours & {hashlib.sha256(each.image.read_bytes()).hexdigest() for each in parts.evaluation}


def test_one_folder_for_both_is_dealt_out_without_overlap_and_always_alike(tmp_path: Path):
    folder = dotted(tmp_path / "set", 40)

    parts = split(folder, judged(folder))

    assert not overlap(parts)
    assert parts.calibration
    assert len(parts.calibration) + len(parts.evaluation) == 40
    assert parts == split(folder, judged(folder))
    assert "40 lay in both folders" in parts.told


def test_photographs_beyond_the_wanted_number_are_not_judged_on_either(tmp_path: Path):
    folder = dotted(tmp_path / "set", 40)

    few, all_of_them = split(folder, judged(folder), most=2), split(folder, judged(folder))

    assert len(few.calibration) == 2
    assert few.evaluation == all_of_them.evaluation


def test_two_folders_that_share_nothing_are_taken_as_they_are(tmp_path: Path):
    ours, theirs = dotted(tmp_path / "ours", 5), dotted(tmp_path / "theirs", 6, first=100)

    parts = split(ours, judged(theirs))

    assert (len(parts.calibration), len(parts.evaluation), parts.shared) == (5, 6, 0)
    assert "no file is in both" in parts.told


def test_a_copy_under_another_name_is_the_same_photograph(tmp_path: Path):
    theirs = dotted(tmp_path / "theirs", 30)
    ours = tmp_path / "plain"
    ours.mkdir()
    for path in (theirs / "image").iterdir():
        shutil.copy(path, ours / f"copy-of-{path.name}")

    parts = split(ours, judged(theirs))

    assert parts.shared == 30
    assert not overlap(parts)


def test_masks_beside_image_are_no_calibration_photographs(tmp_path: Path):
    parts = split(dotted(tmp_path / "ours", 3), judged(dotted(tmp_path / "theirs", 2, first=50)))

    assert {each.path.parent.name for each in parts.calibration} == {"image"}


def test_one_photograph_cannot_be_dealt_to_both(tmp_path: Path):
    folder = dotted(tmp_path / "set", 1)

    with pytest.raises(UsageError, match="give more photographs"):
        split(folder, judged(folder))
