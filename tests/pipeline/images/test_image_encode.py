"""Encoding: lossless, readable by others, and nothing in the file but the pixels."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import odd_images as odd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mattemill.pipeline.errors import ImageError, UsageError
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.encode import CONTENT_TYPES, encode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.reasons import Reason

MODES = {None: "L", 3: "RGB", 4: "RGBA"}


def random(height: int, width: int, channels: int | None, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([None, 3, 4]), st.integers(0, 2**32 - 1))
def test_pillow_and_opencv_read_the_png_back_to_the_bit(
    height: int, width: int, channels: int | None, seed: int
) -> None:
    pixels = random(height, width, channels, seed)
    data = encode(pixels, "png")
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.mode == MODES[channels]
    assert np.array_equal(np.asarray(image), pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if channels == 3:
        read = read[..., ::-1]
    elif channels == 4:
        read = read[..., [2, 1, 0, 3]]
    assert np.array_equal(read.reshape(pixels.shape), pixels)


def chunks(data: bytes) -> list[bytes]:
    """Names of a PNG's chunks, each checked against its length and CRC."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, names = 8, []
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(name + body)
        names.append(name)
        at += 12 + length
    return names


def test_a_png_has_no_chunk_that_could_tell_anything() -> None:
    assert chunks(encode(random(9, 7, None), "png")) == [b"IHDR", b"IDAT", b"IEND"]
    assert chunks(encode(random(9, 7, 4), "png")) == [b"IHDR", b"sRGB", b"IDAT", b"IEND"]


@pytest.mark.parametrize("format", ["png", "webp"])
def test_the_place_of_a_photograph_does_not_reach_the_output(format: str) -> None:
    source = odd.oriented_jpeg(6)
    assert b"Mattemill Phone" in source
    data = encode(decode(source, read_header(source)), format)
    assert b"Mattemill Phone" not in data
    assert b"Exif" not in data
    assert not Image.open(io.BytesIO(data)).getexif()


@pytest.mark.parametrize("format", ["png", "webp"])
def test_colours_under_alpha_0_survive(format: str) -> None:
    pixels = random(40, 50, 4)
    pixels[:, :30, 3] = 0
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(pixels, format)))), pixels)


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_webp_is_lossless(channels: int | None) -> None:
    pixels = random(33, 21, channels)
    read = np.asarray(Image.open(io.BytesIO(encode(pixels, "webp"))))
    assert np.array_equal(read, np.dstack([pixels] * 3) if channels is None else pixels)


def test_a_png_is_split_into_several_chunks_where_one_would_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mattemill.pipeline.images.encode._MOST_IDAT", 1000)
    pixels = random(50, 40, 3)
    data = encode(pixels, "png")
    assert chunks(data).count(b"IDAT") == 7
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_views_are_encoded_like_their_copies() -> None:
    pixels = random(30, 40, 4)[::2, 5:25]
    assert encode(pixels, "png") == encode(pixels.copy(), "png")
    assert encode(pixels, "webp") == encode(pixels.copy(), "webp")


def test_a_webp_over_the_formats_own_limit_is_refused_with_what_to_do() -> None:
    strip = np.zeros((2, 16_384), np.uint8)
    with pytest.raises(ImageError, match="--format png") as caught:
        encode(strip, "webp")
    assert caught.value.reason is Reason.TOO_LARGE
    assert encode(strip[:, 1:], "webp")[:4] == b"RIFF"


def test_what_is_no_picture_or_no_format_is_refused() -> None:
    with pytest.raises(UsageError, match="jpeg"):
        encode(random(3, 3, None), "jpeg")
    for wrong in (np.zeros((3, 3), np.float32), np.zeros((3, 3, 2), np.uint8)):
        with pytest.raises(ValueError, match="must be uint8"):
            encode(wrong, "png")  # type: ignore[arg-type]


def test_every_format_has_its_content_type() -> None:
    for format, content_type in CONTENT_TYPES.items():
        image = Image.open(io.BytesIO(encode(random(4, 4, 3), format)))
        assert Image.MIME[str(image.format)] == content_type
