"""A job's background picture is looked at before anything else is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mattemill.cluster.cli.main import main
from mattemill.cluster.job import plan_job, prepare
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.stages.matte import load_background


def on(background: Path | str) -> JobConfig:
    return JobConfig(output="composite", background=str(background), device="cpu")


@pytest.fixture
def photographs(tmp_path: Path, sample_photos: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "astronaut.jpg").write_bytes((sample_photos / "astronaut.jpg").read_bytes())
    return folder


@pytest.fixture(params=["a text", "nothing", "a folder", "a name that no file can have"])
def no_picture(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What was given as a background and is none."""
    if request.param == "a text":
        (tmp_path / "background.png").write_text("not a picture")
    elif request.param == "a folder":
        (tmp_path / "background.png").mkdir()
    elif request.param == "a name that no file can have":
        return "back\0ground.png"
    return str(tmp_path / "background.png")


@pytest.mark.parametrize("start", [prepare, plan_job])
def test_a_background_that_is_no_picture_is_told_before_anything_is_written(
    start: Callable[[str, str, JobConfig], object], no_picture: str, photographs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"background .*ground\.png: cannot be used"):
        start(str(photographs), str(tmp_path / "mattes"), on(no_picture))
    assert not (tmp_path / "mattes").exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_run_on_a_background_that_is_a_text_is_wrong_use(
    options: tuple[str, ...], u2netp: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.png").write_text("not a picture")
    arguments = ["run", str(photographs), str(tmp_path / "mattes"), "--output", "composite"]

    assert main([*arguments, "--background", str(tmp_path / "note.png"), *options]) == 2

    assert "note.png: cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "mattes").exists()


def test_a_background_below_the_home_folder_is_one_file_for_jobs_and_stages(
    u2netp: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEMILL_MODELS", str(u2netp.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "background.png")

    job = prepare(str(photographs), str(tmp_path / "mattes"), on("~/background.png"))

    assert load_background(job.config).tolist() == [[[1, 2, 3]] * 3] * 2
    written_out = on(tmp_path / "background.png")
    assert job.fingerprint == written_out.fingerprint(job.model_hashes)


def test_the_pixels_of_the_background_count_and_not_where_it_lies(tmp_path: Path) -> None:
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        Image.new("RGB", (3, 2), colour).save(tmp_path / f"{name}.png")

    a, b, c = (on(tmp_path / f"{name}.png").fingerprint({}) for name in "abc")

    assert a == b != c
