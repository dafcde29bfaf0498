"""Which files go to the GPU's decoder: plain JPEGs, and nothing that `decode` treats in a way of its own."""

from __future__ import annotations

import numpy as np
import odd_images as odd
import pytest
from PIL import ImageCms

from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.gpu_jpeg import why_not_on_gpu
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.images.jpeg_markers import read_markers

ALL = odd.odd_images()

_TAKEN = ["grey.jpg", "orientation_1.jpg", "truncated.jpg", "twelve_megapixels.jpg"]
"""Of the odd files that have a header. Whether a file is whole, the decoder looks by itself."""


def why(data: bytes) -> str:
    return why_not_on_gpu(data, read_header(data))


def patched(marker: bytes, at: int, value: int) -> bytes:
    """The mug's JPEG with a byte of a segment changed; at: behind the marker."""
    found = bytearray(odd.jpeg())
    found[found.index(marker) + 2 + at] = value
    return bytes(found)


def test_of_all_odd_files_only_the_plain_jpegs_are_taken() -> None:
    taken = []
    for name, (data, _) in ALL.items():
        try:
            header = read_header(data)
        except ImageError:
            continue
        if not why_not_on_gpu(np.frombuffer(data, np.uint8), header):
            taken.append(name)
    assert sorted(taken) == _TAKEN


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cmyk.jpg", "its colours are CMYK"),
        ("display_p3.jpg", "its colour profile is not sRGB"),
        ("orientation_6.jpg", "it is to be turned (EXIF orientation 6)"),
        ("rgb_16_bit.png", "it is a PNG"),
        ("lossy.webp", "it is a WEBP"),
        ("lzw.tif", "it is a TIFF"),
    ],
)
def test_what_goes_the_hosts_way_says_why(name: str, reason: str) -> None:
    assert why(ALL[name][0]) == reason


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_usual_subsamplings_are_taken_progressive_or_not(subsampling: str) -> None:
    for progressive in (False, True):
        assert why(odd.jpeg(subsampling=subsampling, progressive=progressive)) == ""


def test_a_profile_that_is_srgb_by_another_name_does_not_matter() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert why(odd.jpeg(icc_profile=profile)) == ""


def test_rare_subsampling_goes_the_hosts_way() -> None:
    across = patched(b"\xff\xc0", 2 + 7, 0x41)  # luma's factors in the frame header: 4 across, 1 down
    assert why(across) == "its chroma subsampling is rare ([(4, 1), (1, 1), (1, 1)])"


def test_colours_that_may_not_be_ycbcr_go_the_hosts_way() -> None:
    assert why(patched(b"\xff\xc0", 2 + 6, ord("R"))) == "its colours may be no YCbCr"
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    for transform, reason in ((0, "its colours may be no YCbCr"), (1, "")):
        data = odd.jpeg()[:2] + adobe + bytes([transform]) + odd.jpeg()[2:]
        assert read_markers(memoryview(data)).adobe == transform
        assert why(data) == reason


@pytest.mark.parametrize("frame", [0xC3, 0xC9])
def test_lossless_and_arithmetic_frames_go_the_hosts_way(frame: int) -> None:
    assert why(patched(b"\xff\xc0", -1, frame)) == f"its kind of JPEG is rare (frame {frame:#x})"


def test_a_frame_header_that_ends_before_its_components_goes_the_hosts_way() -> None:
    header = bytearray(odd.jpeg())
    at = header.index(b"\xff\xc0")
    del header[at + 2 + 14 : at + 2 + 17]  # the last component, and its length said so
    header[at + 3] -= 3
    assert why(bytes(header)) == "its frame header is not as long as it should be"
