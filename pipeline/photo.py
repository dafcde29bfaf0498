"""What is known of a photograph: where it is, what its header says, its encoded bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image of a source, before anything of it was read.

    key: identity within the source, stable between runs; what outcome rows and output keys derive from.
    uri: where its bytes are: `s3://bucket/key` or `file:///absolute/path`.
    etag: version of the object as listed (no quotes); None when the source does not say.
    size: encoded bytes as listed; None when the source does not say.
    """

    key: str
    uri: str
    etag: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file's header says, read without allocating a pixel.

    format: 'jpeg', 'png', 'webp', 'gif', 'tiff' or 'bmp'.
    width, height: pixels as stored, before the EXIF orientation is applied.
    mode: Pillow's mode string as stored ('RGB', 'CMYK', 'L', 'I;16', 'P', 'RGBA', ...).
    bit_depth: bits a channel.
    orientation: EXIF orientation 1..8.
    frames: 1 for stills; the first frame of more is used.
    """

    format: str
    width: int
    height: int
    mode: str
    bit_depth: int
    orientation: int = 1
    has_icc: bool = False
    frames: int = 1

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) in pixels as a viewer shows the image, orientation applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the image as RGB uint8: what the byte gate charges."""
        return self.width * self.height * 3


@dataclass(frozen=True, slots=True)
class Photo:
    """A fetched photograph, still encoded.

    data: uint8 (n,) the encoded file. An array and not `bytes`, so that it crosses processes without a copy.
    """

    ref: ImageRef
    header: Header
    data: npt.NDArray[np.uint8]


Rgb = npt.NDArray[np.uint8]
"""uint8 (H, W, 3), sRGB, orientation applied."""

Alpha = npt.NDArray[np.float32]
"""float32 (H, W) in 0..1."""

AnyArray = npt.NDArray[Any]
