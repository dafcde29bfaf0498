"""`mattemill cut`: one photograph through the real network."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[bytes]]

pytestmark = pytest.mark.usefixtures("default_model")


@pytest.fixture
def photo(tmp_path: Path, samples: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes((samples / "catalogue" / "mug.jpg").read_bytes())
    return path


def test_without_out_the_matte_lies_beside_the_photograph(
    here: Callable[..., int], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(photo)) == 0
    matte = Image.open(photo.with_name("photo.jpg.matte.png"))
    assert (matte.mode, matte.size) == ("L", (1200, 1600))
    alpha = np.asarray(matte)
    assert alpha[800, 450] > 250  # the mug
    assert alpha[100, 100] < 5  # the wall
    assert alpha[800, 880] < 30  # through the handle
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "confidence" in captured.err


def test_a_cutout_is_named_after_what_it_is_and_holds_the_colours(here: Callable[..., int], photo: Path) -> None:
    assert here("cut", str(photo), "--output", "cutout", "--format", "webp") == 0
    cutout = Image.open(photo.with_name("photo.jpg.cutout.webp"))
    assert (cutout.format, cutout.mode, cutout.size) == ("WEBP", "RGBA", (1200, 1600))


def test_two_photographs_of_one_stem_get_two_mattes(here: Callable[..., int], photo: Path, samples: Path) -> None:
    other = photo.with_suffix(".png")
    other.write_bytes((samples / "cat.png").read_bytes())
    assert [here("cut", str(photo)), here("cut", str(other))] == [0, 0]
    assert Image.open(photo.with_name("photo.jpg.matte.png")).size == (1200, 1600)
    assert Image.open(photo.with_name("photo.png.matte.png")).size == Image.open(other).size


def test_the_suffix_of_out_says_the_format(here: Callable[..., int], photo: Path) -> None:
    assert here("cut", str(photo), "-o", "result.webp") == 0
    assert Image.open("result.webp").format == "WEBP"


def test_a_composite_lies_on_the_background_that_was_asked_for(here: Callable[..., int], photo: Path) -> None:
    assert here("cut", str(photo), "--output", "composite", "--background", "#10a040", "-o", "c.png") == 0
    assert Image.open("c.png").getpixel((100, 100)) == (0x10, 0xA0, 0x40)


def test_a_photograph_goes_through_stdin_and_stdout(mattemill: Command, photo: Path) -> None:
    done = mattemill("cut", "-", "--json", stdin=photo.read_bytes())
    assert done.returncode == 0, done.stderr
    assert Image.open(io.BytesIO(done.stdout)).size == (1200, 1600)
    facts = json.loads(done.stderr)
    assert facts["outcome"] == "matte"
    assert 0.5 < facts["scores"]["confidence"] <= 1.0
    assert facts["device"]


def test_a_photograph_without_a_subject_ends_with_1_and_its_reason(
    here: Callable[..., int], samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(samples / "gravel.jpg"), "-o", "out.png", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["reason"] == "no_subject"
    assert captured.err.startswith("mattemill: error: ")
    assert len(captured.err.splitlines()) == 1
    assert not Path("out.png").exists()


def test_a_damaged_photograph_leaves_an_older_result_alone(here: Callable[..., int], samples: Path) -> None:
    Path("out.png").write_bytes(b"older")
    assert here("cut", str(samples / "temple-cut-off.jpg"), "-o", "out.png") == 1
    assert Path("out.png").read_bytes() == b"older"


@pytest.mark.parametrize("spelling", ["photo.png", "./photo.png", "link.png"])
def test_the_photograph_itself_is_never_written_over(
    here: Callable[..., int], tmp_path: Path, samples: Path, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (samples / "cat.png").read_bytes()
    Path("photo.png").write_bytes(data)
    Path("link.png").symlink_to("photo.png")
    assert here("cut", "photo.png", "-o", spelling) == 2
    assert "is the photograph itself" in capsys.readouterr().err
    assert Path("photo.png").read_bytes() == data


def test_a_canvas_is_the_size_that_comes_out_and_the_photographs_own_is_told_beside_it(
    here: Callable[..., int], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--canvas", "500x400", "--margin", "10%", "--shadow", "drop", "--fill-holes", "--output", "cutout")
    assert here("cut", str(photo), *asked, "-o", "c.png", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"]) == (1200, 1600)
    assert (facts["output_width"], facts["output_height"]) == Image.open("c.png").size == (500, 400)
    assert facts["scores"]["shadow_peak"] > 0.3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shadow", "keep"), "a matte has no colour"),
        (("--margin", "5%"), "only with a canvas"),
        (("--canvas", "big"), "write WIDTHxHEIGHT"),
        (("--match-colour", "0.5", "--output", "composite"), "without a picture"),
        (("--feather", "-2"), "feather = -2.0"),
    ],
)
def test_finishing_that_makes_no_sense_is_wrong_use(
    here: Callable[..., int], photo: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(photo), *arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("-o", "result.jpg"), ("-o", "result"), ("-o", "result.png", "--format", "webp")]
)
def test_an_out_that_is_no_png_or_webp_is_wrong_use(
    here: Callable[..., int], photo: Path, arguments: tuple[str, ...]
) -> None:
    assert here("cut", str(photo), *arguments) == 2


def test_a_result_in_a_folder_that_is_not_there_is_named(
    here: Callable[..., int], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(photo), "-o", "nowhere/result.png") == 2
    assert "nowhere/result.png: cannot be written" in capsys.readouterr().err


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(here: Callable[..., int], photo: Path) -> None:
    from mattemill.pipeline.engines.devices import find_cuda

    if not find_cuda().missing:
        pytest.skip("this machine has a usable GPU")
    assert here("cut", str(photo), "--device", "cuda") == 1
    assert not photo.with_name("photo.jpg.matte.png").exists()
