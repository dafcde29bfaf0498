"""Cutting with a person's trimap or strokes."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.errors import HintError
from mattemill.pipeline.hints import Hint
from mattemill.pipeline.images.header import read_header

Marks = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def cutter(u2netp: Path) -> Cutter:
    return Cutter()


def _marks(size: tuple[int, int], keep: list[tuple[int, int]], remove: list[tuple[int, int]]) -> Marks:
    image = Image.new("L", size, 128)
    draw = ImageDraw.Draw(image)
    for points, value in ((keep, 255), (remove, 0)):
        if points:
            draw.line(points, value, 9)
    return np.asarray(image)


def _two_mugs(sample_photos: Path) -> bytes:
    """A photograph, 900x600, with two articles side by side."""
    with Image.open(sample_photos / "catalogue" / "mug.jpg") as image:
        one = image.convert("RGB").resize((450, 600))
    both = Image.new("RGB", (900, 600))
    both.paste(one, (0, 0))
    both.paste(one, (450, 0))
    file = io.BytesIO()
    both.save(file, "PNG")
    return file.getvalue()


def test_a_stroke_takes_one_of_two_articles_away_and_leaves_the_other(cutter: Cutter, sample_photos: Path) -> None:
    data = _two_mugs(sample_photos)
    both = Cutter(JobConfig(confidence_threshold=0.0)).cut(data).pixels >= 128
    assert both[:, :450].mean() > 0.1
    assert both[:, 450:].mean() > 0.1
    hint = Hint("strokes", _marks((900, 600), [], [(590, 220), (595, 300), (640, 400)]))
    cutting = cutter.cut(data, hint)
    left = cutting.pixels >= 128
    assert left[:, 450:].mean() < 0.1 * both[:, 450:].mean()
    overlap = (left & both)[:, :450].sum() / (left | both)[:, :450].sum()
    assert overlap > 0.9
    assert cutting.facts.scores["changed_by_hint"] > 0.05
    assert "confidence" not in cutting.facts.scores


def test_marked_pixels_stand_in_the_matte_exactly(cutter: Cutter, sample_photos: Path) -> None:
    marks = _marks((600, 400), [(20, 20), (80, 30)], [(300, 150), (330, 260)])  # both wrong: the person decides
    pixels = cutter.cut((sample_photos / "coffee.webp").read_bytes(), Hint("strokes", marks)).pixels
    assert (pixels[marks == 255] == 255).all()
    assert (pixels[marks == 0] == 0).all()


@pytest.mark.parametrize("name", ["gravel.jpg", "rocket-cmyk.jpg"])
def test_with_strokes_a_photograph_without_a_clear_subject_is_cut(
    name: str, cutter: Cutter, sample_photos: Path
) -> None:
    data = (sample_photos / name).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    marks = _marks((width, height), [(width // 2, height // 3), (width // 2, height // 2)], [])
    pixels = cutter.cut(data, Hint("strokes", marks)).pixels
    assert pixels.shape == (height, width)
    assert (pixels[marks == 255] == 255).all()


def test_a_trimaps_certain_pixels_stand_and_its_band_is_filled(cutter: Cutter, sample_photos: Path) -> None:
    with Image.open(sample_photos.parent / "alpha" / "mug.png") as image:
        truth = np.asarray(image.convert("L"))
    band = ((truth > 0) & (truth < 255)).astype(np.uint8)
    edge = cv2.morphologyEx((truth >= 128).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    unknown = cv2.dilate(edge | band, np.ones((31, 31), np.uint8)) > 0
    marks = np.where(unknown, 128, np.where(truth >= 128, 255, 0)).astype(np.uint8)
    cutting = cutter.cut((sample_photos / "catalogue" / "mug.jpg").read_bytes(), Hint("trimap", marks))
    np.testing.assert_array_equal(cutting.pixels[~unknown], marks[~unknown])
    assert np.abs(cutting.pixels.astype(float) - truth)[unknown].mean() < 20
    assert len(cutting.facts.boxes) == 1


def test_a_trimap_that_knows_all_is_the_matte_and_comes_out_as_a_cutout_too(sample_photos: Path, u2netp: Path) -> None:
    marks = np.zeros((400, 600), np.uint8)
    marks[100:300, 200:400] = 255
    cutting = Cutter(JobConfig(output="cutout")).cut(
        (sample_photos / "coffee.webp").read_bytes(), Hint("trimap", marks)
    )
    np.testing.assert_array_equal(cutting.pixels[..., 3], marks)


def test_a_hint_lies_on_the_photograph_as_shown(cutter: Cutter, sample_photos: Path) -> None:
    data = (sample_photos / "flower-rotated.jpg").read_bytes()
    width, height = read_header(data).shown_size
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.size == (height, width)
    marks = _marks((width, height), [(width // 2, height // 2), (width // 2 + 20, height // 2)], [(2, 2), (2, 30)])
    pixels = cutter.cut(data, Hint("strokes", marks)).pixels
    assert (pixels[marks == 0] == 0).all()
    with pytest.raises(HintError, match=f"the hint is {height}x{width} pixels, the photograph is {width}x{height}"):
        cutter.cut(data, Hint("strokes", marks.T))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (10, 20_000)])
@pytest.mark.parametrize("kind", ["strokes", "trimap"])
def test_absurd_shapes_with_a_hint_have_a_matte(shape: tuple[int, int], kind: str, cutter: Cutter) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((*shape, 3), 200, np.uint8)).save(file, "PNG")
    marks = np.full(shape, 128, np.uint8)
    marks[0, 0] = 255
    pixels = cutter.cut(file.getvalue(), Hint(kind, marks)).pixels
    assert pixels.shape == shape
    assert pixels[0, 0] == 255
