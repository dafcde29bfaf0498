"""Headers: what a file is, read without a pixel."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import bomb_png, exif, jpeg, odd_images, photograph, png, tiff, webp
from PIL import Image

from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.reasons import Reason

SAVED = {
    "jpeg": ("JPEG", ("L", "RGB", "CMYK")),
    "png": ("PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    "webp": ("WEBP", ("RGB", "RGBA")),
    "gif": ("GIF", ("P",)),
    "tiff": ("TIFF", ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")),
    "bmp": ("BMP", ("P", "RGB")),
}


def saved(mode: str, format: str, size: tuple[int, int] = (37, 23), **options: object) -> bytes:
    out = io.BytesIO()
    image = Image.new(mode, size) if mode == "I;16" else Image.new("RGB", size, (200, 10, 60)).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(100)
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize(("format", "mode"), [(f, m) for f, (_, modes) in SAVED.items() for m in modes])
def test_type_size_and_mode_are_those_that_pillow_wrote(format: str, mode: str) -> None:
    header = read_header(saved(mode, SAVED[format][0]))
    assert (header.format, header.width, header.height, header.mode) == (format, 37, 23, mode)
    assert header.bit_depth == {"1": 1, "I;16": 16}.get(mode, 8)
    assert (header.orientation, header.has_icc, header.frames) == (1, False, 1)


@pytest.mark.parametrize("lossless", [True, False])
def test_both_kinds_of_webp_and_the_extended_one_give_their_size(lossless: bool) -> None:
    for options in ({}, {"exif": exif(6)}):
        header = read_header(saved("RGB", "WEBP", (301, 77), lossless=lossless, **options))
        assert (header.width, header.height) == (301, 77)
        assert header.orientation == (6 if options else 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_found_in_every_type_that_has_one(format: str, orientation: int) -> None:
    header = read_header(saved("RGB", format, exif=exif(orientation)))
    assert header.orientation == orientation
    assert header.shown_size == ((23, 37) if orientation >= 5 else (37, 23))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_colour_profile_is_noticed(format: str) -> None:
    from odd_images import display_p3_profile

    assert read_header(saved("RGB", format, icc_profile=display_p3_profile())).has_icc


@pytest.mark.parametrize(("name", "frames"), [("animated.gif", 3), ("animated.webp", 3), ("plain.bmp", 1)])
def test_frames_are_counted(name: str, frames: int) -> None:
    assert read_header(odd_images()[name][0]).frames == frames


def test_an_empty_file_is_truncated_and_says_that_it_is_empty() -> None:
    with pytest.raises(ImageError, match="empty") as caught:
        read_header(b"")
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"Dear customer, the picture follows tomorrow.", "text"),
        (b"BM is how this note begins, as a bitmap would.", "text"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "MP4"),
        (b"8BPS\0\1", "Photoshop"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "RIFF"),
        (b"PK\x03\x04", "ZIP"),
        (bytes(2000), "zeros"),
        (b"\x13\x37\0\xfe" * 9, "not known"),
    ],
)
def test_what_is_no_supported_image_is_refused_by_its_name(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=name) as caught:
        read_header(data)
    assert caught.value.reason is Reason.UNSUPPORTED_TYPE


def test_a_camera_raw_is_not_taken_for_its_thumbnail() -> None:
    def dng() -> bytes:
        entries = [(254, 4, 1), (256, 3, 160), (257, 3, 120), (330, 4, 4096), (50706, 1, 1)]
        body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(64)

    with pytest.raises(ImageError, match="camera raw") as caught:
        read_header(dng())
    assert caught.value.reason is Reason.UNSUPPORTED_TYPE


@pytest.mark.parametrize("make", [jpeg, png, webp], ids=["jpeg", "png", "webp"])
def test_a_file_that_ends_inside_its_header_is_truncated(make: object) -> None:
    data = make()  # type: ignore[operator]
    with pytest.raises(ImageError) as caught:
        read_header(data[:20])
    assert caught.value.reason is Reason.TRUNCATED


def test_a_bomb_is_read_and_then_refused_without_memory_for_its_pixels() -> None:
    data = bomb_png(50_000, 50_000)
    tracemalloc.start()
    header = read_header(data)
    with pytest.raises(ImageError, match="50000x50000") as caught:
        check_limits(header, len(data), 100_000_000, 2**28)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is Reason.TOO_LARGE
    assert (header.width, header.height) == (50_000, 50_000)
    assert peak < 100_000


def test_a_gif_whose_frame_is_larger_than_its_screen_counts_as_large_as_the_frame() -> None:
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    header = read_header(data + b"\x08\0;")
    with pytest.raises(ImageError, match="60000x60000"):
        check_limits(header, 100, 100_000_000, 2**28)


def test_the_limits_themselves_are_allowed() -> None:
    header = read_header(png(photograph(40, 25)))
    check_limits(header, 500, 1000, 500)
    with pytest.raises(ImageError, match="max_pixels"):
        check_limits(header, 500, 999, 500)
    with pytest.raises(ImageError, match="max_file_bytes"):
        check_limits(header, 501, 1000, 500)


def test_a_size_of_zero_is_undecodable() -> None:
    with pytest.raises(ImageError, match="0x7") as caught:
        read_header(bomb_png(0, 7))
    assert caught.value.reason is Reason.UNDECODABLE


def test_arrays_and_views_are_read_like_bytes() -> None:
    data = jpeg()
    array = np.frombuffer(data, np.uint8)
    assert not array.flags.writeable
    assert read_header(array) == read_header(memoryview(data)) == read_header(bytearray(data)) == read_header(data)


def test_stray_bytes_and_fill_bytes_between_markers_are_passed_over() -> None:
    data = jpeg()
    assert read_header(data[:2] + b"\xff\xff\xff" + data[2:]) == read_header(data)


STARTS = [jpeg()[:700], png()[:300], webp()[:300], tiff()[:300], odd_images()["animated.gif"][0][:1000]]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(STARTS),
    st.lists(st.tuples(st.integers(0, 299), st.integers(0, 255)), max_size=6),
    st.integers(0, 300),
)
def test_a_damaged_header_is_read_or_ends_as_an_image_error(
    start: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(start[: max(1, length)] if length < 300 else start)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    reason, header = None, None
    try:
        header = read_header(bytes(data))
    except ImageError as error:
        reason = error.reason
    if header is None:
        assert reason in (Reason.TRUNCATED, Reason.UNDECODABLE, Reason.UNSUPPORTED_TYPE)
    else:
        assert header.width > 0
        assert header.height > 0
        assert 1 <= header.orientation <= 8
