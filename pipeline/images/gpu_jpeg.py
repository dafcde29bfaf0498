"""Which files a GPU may decode: those of which it makes the picture that `decode` makes, but for rounding."""

from __future__ import annotations

from mattemill.pipeline.images.buffers import Data, view_of
from mattemill.pipeline.images.colour import srgb_transform
from mattemill.pipeline.images.jpeg_markers import read_markers
from mattemill.pipeline.photo import Header

_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended sequential, progressive
_LUMA = frozenset({(1, 1), (2, 1), (2, 2), (1, 2)})  # 4:4:4, 4:2:2, 4:2:0, 4:4:0: libjpeg smooths the same ones


def why_not_on_gpu(data: Data, header: Header) -> str:
    """What of a file the GPU's decoder may take otherwise than `decode` does; '' when it may decode it.

    data, header: as `decode` takes them. Whether the pixels are whole is not looked at.
    """
    if header.format != "jpeg":
        return f"it is a {header.format.upper()}"
    if header.mode not in ("RGB", "L"):
        return f"its colours are {header.mode}"
    if header.bit_depth != 8:
        return f"it has {header.bit_depth} bits a channel"
    if header.orientation != 1:
        return f"it is to be turned (EXIF orientation {header.orientation})"
    markers = read_markers(view_of(data))
    if markers.frame not in _HUFFMAN:
        return f"its kind of JPEG is rare (frame {markers.frame:#x})"
    if len(markers.sampling) != markers.components:
        return "its frame header is not as long as it should be"
    factors = [(across, down) for _, across, down in markers.sampling]
    if markers.components == 3:
        # libjpeg has rules for files that say nothing clear; others' rules differ.
        if [name for name, _, _ in markers.sampling] != [1, 2, 3] or markers.adobe not in (None, 1):
            return "its colours may be no YCbCr"
        if factors[0] not in _LUMA or factors[1:] != [(1, 1), (1, 1)]:
            return f"its chroma subsampling is rare ({factors})"
    elif factors != [(1, 1)]:
        return f"its sampling is rare ({factors})"
    if markers.icc and srgb_transform(markers.icc, header.mode) is not None:
        return "its colour profile is not sRGB"
    return ""
