"""`mattemill cut --trimap` and `--strokes`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytestmark = pytest.mark.usefixtures("default_model")

Here = Callable[..., int]


@pytest.fixture
def photo(tmp_path: Path, samples: Path) -> Path:
    path = tmp_path / "photo.webp"
    path.write_bytes((samples / "coffee.webp").read_bytes())
    return path


@pytest.fixture
def strokes(tmp_path: Path) -> Path:
    """Green over the cup, red over the corner; 600x400."""
    image = Image.new("RGBA", (600, 400), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((280, 180, 299, 189), (0, 255, 0, 255))
    draw.rectangle((5, 5, 24, 9), (255, 0, 0, 255))
    image.save(tmp_path / "strokes.png")
    return tmp_path / "strokes.png"


def test_strokes_stand_in_the_matte_and_are_told(
    here: Here, photo: Path, strokes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(photo), "--strokes", str(strokes), "-o", "m.png") == 0
    assert "strokes: 200 pixels to keep and 100 to remove" in capsys.readouterr().err
    matte = np.asarray(Image.open("m.png"))
    assert (matte[180:190, 280:300] == 255).all()
    assert (matte[5:10, 5:25] == 0).all()


def test_json_says_what_the_hint_said(
    here: Here, photo: Path, strokes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(photo), "--strokes", str(strokes), "--json", "-o", "m.png") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["hint"] == {"kind": "strokes", "keep": 200, "remove": 100, "open": 600 * 400 - 300}
    assert "hint" in facts["seconds"]


def test_a_trimap_stands_in_the_matte_and_is_told(
    here: Here, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = np.zeros((400, 600), np.uint8)
    marks[50:350, 100:500] = 128
    marks[150:250, 200:400] = 255
    Image.fromarray(marks).save(tmp_path / "t.png")
    assert here("cut", str(photo), "--trimap", "t.png", "-o", "m.png") == 0
    assert "trimap: 20,000 pixels in, 120,000 out, 100,000 found" in capsys.readouterr().err
    matte = np.asarray(Image.open("m.png"))
    np.testing.assert_array_equal(matte[marks != 128], marks[marks != 128])


@pytest.mark.parametrize("kind", ["--trimap", "--strokes"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: Image.new("L", (60, 40), 255).save(path), "is 60x40 pixels, the photograph as shown is 600x400"),
        (lambda path: path.write_text("no picture"), "is no PNG picture"),
        (lambda path: None, "there is no such file"),
        (lambda path: Image.new("L", (600, 400), 128).save(path), "pixel"),
    ],
)
def test_a_hint_that_cannot_be_used_is_wrong_use_and_writes_nothing(
    here: Here,
    photo: Path,
    kind: str,
    make: Callable[[Path], object],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(Path("hint.png").absolute())
    assert here("cut", str(photo), kind, "hint.png", "-o", "m.png") == 2
    error = capsys.readouterr().err
    assert error.startswith("mattemill: error: hint.png: ")
    assert says in error
    assert not Path("m.png").exists()


def test_two_hints_at_once_are_wrong_use(here: Here, photo: Path, strokes: Path) -> None:
    assert here("cut", str(photo), "--strokes", str(strokes), "--trimap", str(strokes)) == 2


def test_the_hint_itself_is_never_written_over(
    here: Here, photo: Path, strokes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = strokes.read_bytes()
    assert here("cut", str(photo), "--strokes", str(strokes), "-o", str(strokes)) == 2
    assert "is the strokes' file itself" in capsys.readouterr().err
    assert strokes.read_bytes() == before
