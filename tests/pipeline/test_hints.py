"""Trimaps and strokes: how their pixels are read, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mattemill.pipeline.errors import HintError
from mattemill.pipeline.hints import Hint, read_hint, read_strokes, read_trimap

SIZE = (12, 8)


def _file(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _grey(columns: list[int], dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.repeat(np.array([columns], dtype), SIZE[1], axis=0))


def _strokes(colours: list[tuple[int, ...]]) -> bytes:
    return _file(Image.fromarray(np.array([colours], np.uint8)))


def test_a_trimap_is_certain_at_0_and_255_only() -> None:
    hint = read_trimap(_file(_grey([0, 1, 2, 100, 127, 128, 129, 200, 253, 254, 255, 255])), "t.png", SIZE)
    assert hint.kind == "trimap"
    assert hint.marks[3].tolist() == [0] + 9 * [128] + [255, 255]
    assert hint.counts() == {"keep": 16, "remove": 8, "open": 72}


def test_a_trimap_of_16_bits_is_certain_at_0_and_65535_only() -> None:
    hint = read_trimap(_file(_grey([0, 1, 128, 255, 256, 65534, 65535, 0, 0, 0, 0, 0], np.uint16)), "t.png", SIZE)
    assert hint.marks[0].tolist() == [0, 128, 128, 128, 128, 128, 255, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_a_trimap_is_read_alike_in_every_mode_and_its_transparency_ignored(mode: str) -> None:
    image = _grey([0, 0, 128, 255, 255, 255, 0, 0, 0, 0, 0, 0]).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.new("L", SIZE, 0))
    marks = read_trimap(_file(image), "t.png", SIZE).marks
    assert marks[0].tolist() == [0, 0, 128, 255, 255, 255, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("colour", "mark"),
    [
        ((0, 255, 0, 255), 255),
        ((0, 128, 0, 255), 255),
        ((97, 217, 54, 255), 255),
        ((255, 0, 0, 255), 0),
        ((220, 38, 38, 255), 0),
        ((0, 255, 0, 128), 255),
        ((0, 255, 0, 127), 128),
        ((255, 0, 0, 0), 128),
        ((128, 255, 128, 255), 255),
        ((200, 255, 200, 255), 128),
        ((255, 255, 0, 255), 128),
        ((0, 0, 255, 255), 128),
        ((0, 0, 0, 255), 128),
        ((255, 255, 255, 255), 128),
        ((128, 128, 128, 255), 128),
    ],
)
def test_green_keeps_red_removes_and_all_else_says_nothing(colour: tuple[int, ...], mark: int) -> None:
    hint = read_strokes(_strokes([colour, (0, 255, 0, 255)]), "s.png", (2, 1))
    assert hint.marks[0, 0] == mark


def test_strokes_with_soft_and_compressed_edges_are_read_to_within_a_pixel_of_their_outline() -> None:
    exact = Image.new("RGB", (200, 120), "white")
    draw = ImageDraw.Draw(exact)
    draw.line((20, 30, 180, 40), (0, 255, 0), 12)
    draw.line((20, 90, 180, 80), (255, 0, 0), 12)
    jpeg = Image.open(io.BytesIO(_file(exact, "JPEG", quality=60)))
    clean, dirty = (read_strokes(_file(one), "s.png", (200, 120)).marks for one in (exact, jpeg))
    assert set(np.unique(dirty)) == {0, 128, 255}
    for mark in (0, 255):
        one, other = clean == mark, dirty == mark
        assert (one & other).sum() / (one | other).sum() > 0.8
    assert not np.any((clean == 0) & (dirty == 255))
    assert not np.any((clean == 255) & (dirty == 0))


def test_a_hint_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(HintError, match=r"t\.png: is 12x8 pixels, the photograph as shown is 8x12"):
        read_trimap(_file(_grey([0] * 11 + [255])), "t.png", (8, 12))


def test_the_orientation_of_the_hint_itself_is_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(np.array([[0, 255, 255]], np.uint8))
    hint = read_trimap(_file(stored, exif=exif), "t.png", (1, 3))
    assert hint.marks[:, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("columns", "message"), [([128] * 12, "every pixel is unknown"), ([0] * 12, "every pixel is background")]
)
def test_a_trimap_that_says_nothing_is_refused(columns: list[int], message: str) -> None:
    with pytest.raises(HintError, match=message):
        read_trimap(_file(_grey(columns)), "t.png", SIZE)


def test_strokes_given_as_a_trimap_are_pointed_to_the_other_flag() -> None:
    with pytest.raises(HintError, match="--strokes"):
        read_trimap(_strokes([(0, 255, 0, 255), (0, 0, 0, 255)]), "s.png", (2, 1))


@pytest.mark.parametrize("columns", [[0] * 12, [255] * 12, [0, 128, 255] * 4])
def test_strokes_without_green_or_red_are_refused(columns: list[int]) -> None:
    with pytest.raises(HintError, match="no green and no red pixel"):
        read_strokes(_file(_grey(columns)), "s.png", SIZE)


def test_what_is_no_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HintError, match="is no PNG picture"):
        read_strokes(b"a text that pretends", "s.png", SIZE)
    with pytest.raises(HintError, match="is a JPEG file; save the hint as PNG"):
        read_strokes(_file(Image.new("RGB", SIZE, "green"), "JPEG"), "s.png", SIZE)
    whole = _file(Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)))
    with pytest.raises(HintError, match="cannot be decoded"):
        read_strokes(whole[: len(whole) // 2], "s.png", (120, 80))
    with pytest.raises(HintError, match="there is no such file"):
        read_hint(tmp_path / "none.png", "strokes", SIZE)


def test_certain_pixels_stand_in_the_matte_and_the_others_stay() -> None:
    marks = np.array([[0, 128, 255]], np.uint8)
    alpha = np.array([[0.4, 0.5, 0.6]], np.float32)
    np.testing.assert_array_equal(Hint("strokes", marks).honoured(alpha), np.array([[0, 0.5, 1]], np.float32))
    assert alpha[0, 0] == np.float32(0.4)
