"""`mattemill demo`, whole: what a new user runs first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mattemill.cluster.cli.demo import EXPECTED_FAILURES, find_photographs
from mattemill.pipeline.errors import UsageError

Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.mark.slow
@pytest.mark.usefixtures("default_model")
def test_the_demo_cuts_the_samples_and_draws_them(mattemill: Command, tmp_path: Path) -> None:
    done = mattemill("demo")
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    assert "12 cut, 2 failed" in text
    assert "nothing to do: 14 images done before" in text
    for reason in EXPECTED_FAILURES.values():
        assert reason in text
    sheet = tmp_path / "demo-out" / "contact-sheet.png"
    assert str(sheet) in text
    assert min(Image.open(sheet).size) > 1000
    assert (tmp_path / "demo-out" / "failures" / "index.html").exists()


def test_the_samples_are_at_least_ten_real_photographs_with_a_source_each(samples: Path) -> None:
    found = find_photographs(samples)
    assert len([key for key in found if not key.startswith("catalogue/")]) >= 10
    assert EXPECTED_FAILURES.keys() <= found.keys()
    listed = (samples.parent / "README.md").read_text()
    assert [key for key in found if f"`photos/{key}`" not in listed] == []


def test_a_folder_without_photographs_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="holds no photographs"):
        find_photographs(tmp_path)


def test_too_many_photographs_for_a_demo_are_wrong_use(tmp_path: Path) -> None:
    for n in range(61):
        (tmp_path / f"{n}.jpg").touch()
    with pytest.raises(UsageError, match="61 photographs are too many"):
        find_photographs(tmp_path)
