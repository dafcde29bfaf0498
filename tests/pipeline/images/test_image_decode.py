"""Decoding: the pixels as a viewer shows them, or the reason why not."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import odd_images as odd
import pytest
from PIL import Image, ImageCms

from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.photo import Rgb
from mattemill.pipeline.reasons import Reason

ALL = odd.odd_images()


def read(data: bytes) -> Rgb:
    header = read_header(data)
    check_limits(header, len(data), 100_000_000, 2**28)
    return decode(data, header)


def reason_of(data: bytes) -> Reason | None:
    try:
        read(data)
    except ImageError as error:
        return error.reason
    return None


def difference(pixels: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(pixels.astype(np.int16) - truth).mean())


@pytest.mark.parametrize("name", ALL)
def test_every_odd_file_ends_as_it_should(name: str) -> None:
    data, expected = ALL[name]
    if isinstance(expected, Reason):
        with pytest.raises(ImageError) as caught:
            read(data)
        assert caught.value.reason is expected
    else:
        pixels = read(data)
        assert pixels.shape == (expected[1], expected[0], 3)
        assert pixels.dtype == np.uint8


# Grey levels of mean difference that each way of storing the photograph may cost.
COST = {
    "rgb_16_bit.png": 0.0,
    "plain.bmp": 0.0,
    "lzw.tif": 0.0,
    "animated.webp": 0.0,
    "animated.gif": 1.0,
    "lossy.webp": 1.5,
    "cmyk.jpg": 1.5,
    "display_p3.jpg": 1.5,
    **{f"orientation_{number}.jpg": 1.0 for number in range(1, 9)},
}


@pytest.mark.parametrize("name", COST)
def test_the_photograph_comes_out_as_it_was(name: str) -> None:
    assert difference(read(ALL[name][0]), odd.photograph()) <= COST[name]


@pytest.mark.parametrize("name", ["grey_16_bit.png", "grey_16_bit.tif"])
def test_16_bit_grey_is_scaled_and_not_cut_off(name: str) -> None:
    assert np.array_equal(read(ALL[name][0]), np.dstack([odd.grey()] * 3))


def test_grey_jpeg_has_three_equal_channels() -> None:
    pixels = read(ALL["grey.jpg"][0])
    assert difference(pixels, np.dstack([odd.grey()] * 3)) < 1
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_transparency_becomes_white_whatever_lies_under_it() -> None:
    outside = odd.subject_mask() == 0
    for name in ("rgba.png", "palette_transparent.png", "grey_alpha.png"):
        pixels = read(ALL[name][0])
        assert (pixels[outside] == 255).all(), name
    assert np.array_equal(read(ALL["rgba.png"][0])[~outside], odd.photograph()[~outside])


def test_half_transparency_is_mixed_with_white() -> None:
    rgba = np.zeros((5, 6, 4), np.uint8)
    rgba[..., 3] = 51
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    assert (read(out.getvalue()) == 204).all()


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 8, 9)), ("I;16", 1799)])
def test_a_transparent_colour_becomes_white(mode: str, key: object) -> None:
    pixels = {
        "L": np.array([[7, 100]], np.uint8),
        "RGB": np.array([[[7, 8, 9], [100, 100, 100]]], np.uint8),
        "I;16": np.array([[1799, 25700]], np.uint16),
    }[mode]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", transparency=key)
    assert read(out.getvalue())[0].tolist() == [[255, 255, 255], [100, 100, 100]]


def test_display_p3_red_is_not_taken_for_srgb_red() -> None:
    plain = Image.open(io.BytesIO(ALL["display_p3.jpg"][0]))
    untouched = np.asarray(plain.convert("RGB"))
    assert difference(untouched, odd.photograph()) > 2
    assert difference(read(ALL["display_p3.jpg"][0]), odd.photograph()) < 1.5


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_the_profile_counts_in_every_type(format: str) -> None:
    p3 = Image.open(io.BytesIO(odd.display_p3_jpeg()))
    out = io.BytesIO()
    p3.save(out, format, icc_profile=p3.info["icc_profile"], **({"lossless": True} if format == "WEBP" else {}))
    assert difference(read(out.getvalue()), odd.photograph()) < 1.5


def test_an_srgb_profile_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read(odd.jpeg(icc_profile=profile)), read(odd.jpeg()))


@pytest.mark.parametrize("profile", [b"this is no profile", b"\0" * 200])
def test_a_damaged_profile_is_ignored_as_viewers_do(profile: bytes) -> None:
    assert np.array_equal(read(odd.jpeg(icc_profile=profile)), read(odd.jpeg()))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_every_type_is_shown_upright(format: str, orientation: int) -> None:
    stored = Image.open(io.BytesIO(odd.oriented_jpeg(orientation)))
    out = io.BytesIO()
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    Image.fromarray(np.asarray(stored)).save(out, format, exif=odd.exif(orientation), **options)
    assert difference(read(out.getvalue()), odd.photograph()) < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_decode_is_oriented_no_smaller_than_asked_and_shows_the_same(orientation: int) -> None:
    data = odd.oriented_jpeg(orientation)
    pixels = decode(data, read_header(data), at_least=(200, 170))
    assert pixels.shape == (180, 240, 3)
    truth = np.asarray(Image.fromarray(odd.photograph()).reduce(2))
    assert difference(pixels, truth) < 1.5


@pytest.mark.parametrize(("asked", "shape"), [((480, 360), (360, 480)), ((241, 10), (360, 480)), ((60, 45), (45, 60)),
                                              ((1, 1), (45, 60)), ((5000, 5000), (360, 480))])  # fmt: skip
def test_a_scaled_decode_takes_the_smallest_of_libjpegs_scales_that_is_large_enough(
    asked: tuple[int, int], shape: tuple[int, int]
) -> None:
    data = odd.jpeg()
    assert decode(data, read_header(data), at_least=asked).shape == (*shape, 3)


def test_types_that_cannot_be_scaled_come_whole() -> None:
    for name in ("cmyk.jpg", "lossy.webp", "plain.bmp"):
        data = ALL[name][0]
        assert decode(data, read_header(data), at_least=(10, 10)).shape == (360, 480, 3)


def tiff_with_its_tables_first() -> bytes:
    """Uncompressed, with the directory before the pixels, as scanners write it."""
    pixels = odd.photograph()
    entries = [
        (256, 4, 480), (257, 4, 360), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, 4096), (277, 3, 3), (278, 4, 360),
        (279, 4, pixels.size),
    ]  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    table = table.replace(struct.pack("<HHII", 258, 3, 1, 8), struct.pack("<HHII", 258, 3, 3, 2048))
    start = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    return (start.ljust(2048, b"\0") + struct.pack("<HHH", 8, 8, 8)).ljust(4096, b"\0") + pixels.tobytes()


# A marker inside the last bytes of a file may be cut without a pixel missing; then the pixels must be the same.
@pytest.mark.parametrize(
    "name", ["jpeg", "progressive", "png", "webp", "lossless", "gif", "bmp", "tiff", "tables_first", "cmyk"]
)
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])
def test_a_file_cut_anywhere_is_truncated_or_whole_and_never_partly_grey(name: str, share: float) -> None:
    data = {
        "jpeg": odd.jpeg,
        "progressive": lambda: odd.jpeg(progressive=True),
        "png": odd.png,
        "webp": odd.webp,
        "lossless": lambda: odd.animated_webp(),
        "gif": odd.animated_gif,
        "bmp": odd.bmp,
        "tiff": odd.tiff,
        "tables_first": tiff_with_its_tables_first,
        "cmyk": odd.cmyk_jpeg,
    }[name]()
    whole = read(data)
    part = odd.cut(data, share)
    reason = reason_of(part)
    assert reason is Reason.TRUNCATED or (reason is None and np.array_equal(read(part), whole))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_at_any_byte_is_truncated(progressive: bool) -> None:
    data = odd.jpeg(odd.photograph(48, 36), progressive=progressive, exif=odd.exif(6))
    assert {reason_of(data[:length]) for length in range(3, len(data))} == {Reason.TRUNCATED}


def test_a_jpeg_with_its_end_but_a_damaged_middle_is_undecodable() -> None:
    data = odd.jpeg()
    assert reason_of(data[:9000] + data[-2:]) is Reason.UNDECODABLE
    assert reason_of(data[:6000] + bytes(2000) + data[8000:]) is Reason.UNDECODABLE


def test_flipped_bits_in_the_scan_are_undecodable_or_seen_as_they_are_but_never_crash() -> None:
    rng = np.random.default_rng(0)
    reasons = set()
    for make in (odd.jpeg, odd.png, odd.webp, odd.tiff, odd.animated_gif):
        data = make()
        for _ in range(25):
            damaged = bytearray(data)
            for at in rng.integers(len(data) // 3, len(data), 20):
                damaged[at] ^= int(rng.integers(1, 256))
            try:
                assert read(bytes(damaged)).shape == (360, 480, 3)
            except ImageError as error:
                reasons.add(error.reason)
    assert Reason.UNDECODABLE in reasons


def test_stray_bytes_before_the_end_of_a_jpeg_are_forgiven() -> None:
    data = odd.jpeg()
    assert np.array_equal(read(data[:-2] + b"\0\0\0\0" + data[-2:]), read(data))
    assert np.array_equal(read(data + b"trailing bytes of a telephone's second picture"), read(data))


def float_tiff_of_pillow() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 5), np.float32)).save(out, "TIFF")
    return out.getvalue()


def tiff_of_opencv(channels: int, kind: type[np.generic]) -> bytes:
    done, encoded = cv2.imencode(".tiff", np.zeros((4, 5, channels), kind))
    assert done
    return encoded.tobytes()


@pytest.mark.parametrize(
    "data",
    [float_tiff_of_pillow(), *(tiff_of_opencv(n, kind) for n in (1, 3, 4) for kind in (np.float32, np.float64))],
    ids=["pillow", "1x32", "1x64", "3x32", "3x64", "4x32", "4x64"],
)
def test_a_float_tiff_has_no_white_and_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"(32|64) bits a channel as floating point and no defined white") as caught:
        read(data)
    assert caught.value.reason is Reason.UNSUPPORTED_TYPE


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_16_bit_grey_is_no_negative_where_zero_is_white(white_is_zero: bool) -> None:
    out = io.BytesIO()
    stored = np.array([[0, 16448, 65535]], np.uint16)
    Image.fromarray(stored).save(out, "TIFF", tiffinfo={262: 0 if white_is_zero else 1})

    assert read(out.getvalue())[0, :, 0].tolist() == ([255, 191, 0] if white_is_zero else [0, 64, 255])


def test_a_jpeg_whose_second_frame_header_claims_another_size_is_refused() -> None:
    # libjpeg takes the size from the frame header; a header that disagrees with it is a lie about memory.
    data = odd.jpeg()
    header = read_header(odd.jpeg(odd.photograph(48, 36)))
    with pytest.raises(ImageError, match="two sizes") as caught:
        decode(data, header)
    assert caught.value.reason is Reason.UNDECODABLE


def test_threads_decode_what_one_thread_decodes() -> None:
    names = ["display_p3.jpg", "cmyk.jpg", "rgba.png", "animated.gif", "lzw.tif", "orientation_6.jpg"] * 6
    with ThreadPoolExecutor(8) as threads:
        for name, pixels in zip(names, threads.map(lambda name: read(ALL[name][0]), names), strict=True):
            assert np.array_equal(pixels, read(ALL[name][0]))


def test_read_only_arrays_are_decoded_like_bytes() -> None:
    for name in ("orientation_1.jpg", "rgba.png", "cmyk.jpg"):
        data = ALL[name][0]
        array = np.frombuffer(data, np.uint8)
        assert np.array_equal(decode(array, read_header(array)), read(data))


def test_a_jpeg_is_decoded_into_the_room_that_is_given_and_every_file_is_the_same_with_one(sample_photos: Path) -> None:
    inside = []
    for path in sorted(sample_photos.rglob("*.*")):
        if path.suffix not in (".jpg", ".png", ".webp"):
            continue
        data = path.read_bytes()
        header = read_header(data)
        rooms: list[np.ndarray] = []

        def room(nbytes: int, rooms: list[np.ndarray] = rooms) -> np.ndarray:
            rooms.append(np.full(nbytes + 100, 77, np.uint8))
            return rooms[-1][:nbytes]

        try:
            expected = decode(data, header)
        except ImageError:
            with pytest.raises(ImageError):
                decode(data, header, room=room)
            continue
        found = decode(data, header, room=room)
        assert np.array_equal(found, expected), path.name
        assert len(rooms) == (1 if path.suffix == ".jpg" and header.mode != "CMYK" else 0), path.name
        if rooms:
            assert (rooms[0][-100:] == 77).all(), f"{path.name}: written beyond its end"
            inside.append(np.may_share_memory(found, rooms[0]))
    assert any(inside), "no photograph lies where it was decoded to"
