"""A person's hint of what belongs to the subject: a trimap or strokes, read from a PNG and checked.

How pixels are read
- Trimap: 0 is background, 255 is foreground (of 16 bits: 0 and 65535), every value between is unknown. No tolerance: a
  greyish pixel at an antialiased edge is one where a matte is to be found. Transparency is ignored.
- Strokes: green means keep, red means remove. A pixel is green when it is at least half opaque and its green is over
  its red and its blue, both, by 64 of 255 or more; red likewise. White, black, grey, yellow and blue say nothing, nor
  does what is transparent. So the antialiased or JPEG-like edge of a stroke is read as the nearer of the two, stroke or
  nothing, and editors' own greens and reds are understood.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN
from mattemill.pipeline.errors import HintError, ImageError
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.images.orientation import apply_orientation

Marks = npt.NDArray[np.uint8]
"""uint8 (H, W): 0 = not the subject, 255 = the subject, 128 = the hint does not say."""

_PURE = 64  # of 255, by which a stroke's channel exceeds the other two
_OPAQUE = 128
_COLOURED = 24  # of 255 between the channels of one pixel: more is no grey, less is what JPEG makes of grey


@dataclass(frozen=True, slots=True)
class Hint:
    """What a person has said of a photograph; its certain pixels stand in the matte as they are.

    kind: 'trimap' (the rest is the band in which the matte is found) or 'strokes' (the rest follows from them).
    marks: uint8 (H, W) of 0, 128 and 255, at the size of the photograph as shown.
    """

    kind: str
    marks: Marks

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.marks.shape[1], self.marks.shape[0]

    def counts(self) -> dict[str, int]:
        """Pixels marked as subject ('keep'), as not ('remove'), and left open ('open')."""
        keep = int(np.count_nonzero(self.marks == FOREGROUND))
        remove = int(np.count_nonzero(self.marks == BACKGROUND))
        return {"keep": keep, "remove": remove, "open": self.marks.size - keep - remove}

    def honoured(self, alpha: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """alpha, float32 (H, W), with 1 and 0 where the hint says so; a copy."""
        out = alpha.copy()
        out[self.marks == FOREGROUND] = 1.0
        out[self.marks == BACKGROUND] = 0.0
        return out


def read_trimap(data: bytes, name: str, size: tuple[int, int]) -> Hint:
    """A trimap for a photograph of `size` = (width, height) as shown, from an encoded PNG.

    name: of the file, for errors. Raises HintError when it is no PNG, has another size, has colours, or says nothing.
    """
    colours = _pixels(data, name, size)[..., :3]
    if int((colours.max(axis=2) - colours.min(axis=2)).max()) > _COLOURED:
        raise HintError(f"{name}: has colours, a trimap is grey; green and red strokes go with --strokes")
    values = colours[..., 1]
    marks = np.full(values.shape, UNKNOWN, np.uint8)
    marks[values == 0] = BACKGROUND
    marks[values == 255] = FOREGROUND
    if (marks == UNKNOWN).all():
        raise HintError(f"{name}: every pixel is unknown; paint sure background 0 (black), sure foreground 255 (white)")
    if (marks == BACKGROUND).all():
        raise HintError(f"{name}: every pixel is background; paint the subject 255 (white), its edge any grey")
    return Hint("trimap", marks)


def read_strokes(data: bytes, name: str, size: tuple[int, int]) -> Hint:
    """Strokes for a photograph of `size` = (width, height) as shown, from an encoded PNG.

    name: of the file, for errors. Raises HintError when it is no PNG, has another size, or no green and no red pixel.
    """
    rgba = _pixels(data, name, size)
    red, green, blue = (rgba[..., channel].astype(np.int16) for channel in range(3))
    opaque = rgba[..., 3] >= _OPAQUE
    marks = np.full(opaque.shape, UNKNOWN, np.uint8)
    marks[opaque & (green - np.maximum(red, blue) >= _PURE)] = FOREGROUND
    marks[opaque & (red - np.maximum(green, blue) >= _PURE)] = BACKGROUND
    if (marks == UNKNOWN).all():
        raise HintError(
            f"{name}: has no green and no red pixel; draw on a transparent picture, green for what to keep "
            "and red for what to remove"
        )
    return Hint("strokes", marks)


def read_hint(path: Path, kind: str, size: tuple[int, int]) -> Hint:
    """The hint of a file; kind: 'trimap' or 'strokes'. Raises HintError, also when the file cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise HintError(f"{path}: there is no such file") from None
    except OSError as error:
        raise HintError(f"{path}: cannot be read ({error.strerror})") from error
    return (read_trimap if kind == "trimap" else read_strokes)(data, str(path), size)


def _pixels(data: bytes, name: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The picture as uint8 (H, W, 4), its own orientation applied; of 16-bit grey only 0 and 65535 become 0 and 255."""
    try:
        header = read_header(data)
    except ImageError as error:
        raise HintError(f"{name}: is no PNG picture ({error.message})") from error
    if header.format != "png":
        raise HintError(f"{name}: is a {header.format.upper()} file; save the hint as PNG, without loss")
    if header.shown_size != size:
        width, height = header.shown_size
        raise HintError(
            f"{name}: is {width}x{height} pixels, the photograph as shown is {size[0]}x{size[1]}; "
            "a hint has the photograph's size"
        )
    try:
        # The class and not Image.open, whose limit on pixels is its own and global; ours is the photograph's size.
        image: Image.Image = PngImagePlugin.PngImageFile(io.BytesIO(data))
        image.load()
        if image.mode.startswith("I"):
            deep = np.asarray(image)
            image = Image.fromarray(np.select([deep == 0, deep == 65535], [0, 255], UNKNOWN).astype(np.uint8))
        rgba = np.asarray(image.convert("RGBA"), np.uint8)
    except Exception as error:  # decoders raise anything on damaged bytes
        raise HintError(f"{name}: its pixels cannot be decoded ({error})") from error
    return apply_orientation(rgba, header.orientation)
