"""Pixels to files: PNG at the speed of memory, lossless WebP for those who want it smaller.

Nothing but pixels goes into a file: no EXIF, no place where the photograph was taken, no time.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image

from mattemill.kernels.png_up import png_up
from mattemill.pipeline.errors import ImageError, UsageError
from mattemill.pipeline.reasons import Reason

CONTENT_TYPES: Final = {"png": "image/png", "webp": "image/webp"}
"""MIME type by format."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_MOST_IDAT = 2**30  # bytes; a chunk's length has 31 bits
_WEBP_SIDE = 16383  # pixels; the format's own limit


def encode(pixels: npt.NDArray[np.uint8], format: str) -> bytes:
    """A file of the pixels, lossless.

    pixels: uint8 (H, W) grey (an alpha), (H, W, 3) RGB, or (H, W, 4) RGBA, not premultiplied; sRGB.
    format: 'png' or 'webp'. WebP has no grey: (H, W) becomes RGB with equal channels. Colours under alpha 0 stay.
    Raises ImageError TOO_LARGE for a WebP over 16,383 pixels a side, UsageError for another format.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}: must be uint8 (H, W), (H, W, 3) or (H, W, 4)")
    if format == "png":
        return _png(pixels)
    if format == "webp":
        return _webp(pixels)
    raise UsageError(f"format = {format!r}: must be one of {', '.join(CONTENT_TYPES)}")


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The Up filter on every row and ISA-L's fastest level: in size between Pillow's levels 1 and 6."""
    return png_of_rows(png_up(pixels), pixels.shape)


def png_of_rows(rows: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> bytes:
    """A PNG of rows that are filtered already, as `kernels.png_up` does it: uint8 (H, 1 + W * C), contiguous.

    shape: (H, W) or (H, W, C) of the pixels.
    """
    height, width = shape[:2]
    channels = 1 if len(shape) == 2 else shape[2]
    packed = isal_zlib.compress(rows, 1)
    parts = [_SIGNATURE, *_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))]
    if channels > 1:
        parts += _chunk(b"sRGB", b"\0")
    for start in range(0, len(packed), _MOST_IDAT):
        parts += _chunk(b"IDAT", packed[start : start + _MOST_IDAT])
    parts += _chunk(b"IEND", b"")
    return b"".join(parts)


def _chunk(name: bytes, body: bytes) -> list[bytes]:
    check = isal_zlib.crc32(body, zlib.crc32(name))
    return [struct.pack(">I4s", len(body), name), body, struct.pack(">I", check)]


def _webp(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape[:2]
    if max(height, width) > _WEBP_SIDE:
        raise ImageError(
            Reason.TOO_LARGE,
            f"{width}x{height} cannot be a WebP (at most {_WEBP_SIDE} pixels a side); use --format png",
        )
    out = io.BytesIO()
    # exact: without it libwebp blackens the colours under alpha 0, and a cut-out gets its dark fringe when scaled.
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exact=True, method=0, quality=0)
    return out.getvalue()
