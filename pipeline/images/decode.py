"""Encoded bytes to pixels as a viewer shows them: oriented, sRGB, 8 bits, without transparency."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from mattemill.kernels.compose import compose_over
from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.buffers import Data, view_of
from mattemill.pipeline.images.colour import srgb_transform, to_srgb
from mattemill.pipeline.images.jpeg_markers import read_markers
from mattemill.pipeline.images.orientation import apply_orientation
from mattemill.pipeline.images.tiff_tags import PHOTOMETRIC, pixels_end, read_directory
from mattemill.pipeline.photo import Header, Rgb
from mattemill.pipeline.reasons import Reason

_WHITE = np.full(3, 255, np.uint8)

# The classes and not Image.open: that one refuses large sizes by a limit of its own, which is global to the process.
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}

# Warnings of libjpeg after which every pixel is still right: viewers show these files, and so do we.
_HARMLESS = ("extraneous bytes before marker 0xd9", "Invalid SOS parameters for sequential JPEG")


Room = Callable[[int], npt.NDArray[np.uint8]]
"""Gives so many bytes of memory, uint8 (n,), to decode into."""


def decode(data: Data, header: Header, *, at_least: tuple[int, int] | None = None, room: Room | None = None) -> Rgb:
    """The pixels of the (first) picture: uint8 (H, W, 3), sRGB, EXIF orientation applied, alpha flattened on white.

    data: the whole encoded file. header: what `read_header` said of it; check its limits first.
    at_least: (width, height) as shown; the result may then be smaller than the photograph, but not smaller than this
    (JPEG only, by libjpeg's own scaling; other types come whole). room: of memory that a JPEG is decoded into, where
    its pixels are then left as they are, they are the result. Raises ImageError TRUNCATED when the file ends before
    its picture, UNDECODABLE when its pixels are damaged, UNSUPPORTED_TYPE for pixels without a defined white. A picture
    that is only partly there is never returned. Safe in threads.
    """
    view = view_of(data)
    if header.format == "jpeg" and header.mode in ("RGB", "L") and header.bit_depth == 8:
        pixels = _decode_jpeg(view, header, at_least, room)
    else:
        pixels = _decode_pillow(view, header)
    if header.format == "tiff":
        return pixels  # Pillow has already turned it
    return apply_orientation(pixels, header.orientation)


def _decode_jpeg(view: memoryview, header: Header, at_least: tuple[int, int] | None, room: Room | None) -> Rgb:
    scaling: dict[str, Any] = {}
    if at_least is not None:
        width, height = at_least if header.orientation < 5 else (at_least[1], at_least[0])
        # min_factor 2: libjpeg's scales between 1 and 1/2 take longer than no scaling.
        scaling = {"min_width": max(1, width), "min_height": max(1, height), "min_factor": 2}
    try:
        found = simplejpeg.decode_jpeg_header(view, strict=False)
        if (found[1], found[0]) != (header.width, header.height):
            raise ImageError(
                Reason.UNDECODABLE,
                f"the JPEG has two sizes: {header.width}x{header.height} and {found[1]}x{found[0]}",
            )
        if room is not None:
            scaling["buffer"] = room(3 * header.width * header.height)
        try:
            pixels = simplejpeg.decode_jpeg(view, "RGB", **scaling)
        except ValueError as error:
            if not any(text in str(error) for text in _HARMLESS):
                raise
            pixels = simplejpeg.decode_jpeg(view, "RGB", strict=False, **scaling)
    except (ValueError, KeyError) as error:  # KeyError: a colour space that simplejpeg has no name for
        raise _jpeg_error(view, str(error)) from error
    if header.has_icc:
        icc = read_markers(view).icc
        if header.mode == "L":
            if icc and srgb_transform(icc, "L") is not None:
                grey = Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
                return np.asarray(to_srgb(grey, icc))
        elif icc and srgb_transform(icc, "RGB") is not None:
            return np.asarray(to_srgb(Image.fromarray(pixels), icc))
    return np.asarray(pixels, np.uint8)


def _jpeg_error(view: memoryview, message: str) -> ImageError:
    if _jpeg_is_cut_off(view):
        return ImageError(Reason.TRUNCATED, f"the JPEG ends before its picture does ({message}); upload it again")
    return ImageError(Reason.UNDECODABLE, f"the JPEG's pixels cannot be decoded ({message})")


def _decode_pillow(view: memoryview, header: Header) -> Rgb:
    kind = header.format.upper()
    try:
        image = _OPENERS[header.format](io.BytesIO(view))
        if image.size not in ((header.width, header.height), (header.height, header.width)):
            raise ImageError(
                Reason.UNDECODABLE,
                f"the {kind} has two sizes: {header.width}x{header.height} and {image.size[0]}x{image.size[1]}",
            )
        image.load()
        return _as_rgb(image, header)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything on hostile bytes; what matters is that this image ends
        if _is_cut_off(view, header, error):
            message = f"the {kind} ends before its picture does ({error}); upload it again"
            raise ImageError(Reason.TRUNCATED, message) from error
        raise ImageError(Reason.UNDECODABLE, f"the {kind}'s pixels cannot be decoded ({error})") from error


def _is_cut_off(view: memoryview, header: Header, error: Exception) -> bool:
    if header.format == "webp":
        return int.from_bytes(view[4:8], "little") + 8 > len(view)
    if header.format == "tiff":
        directory = read_directory(view)
        return directory is not None and pixels_end(directory) > len(view)
    if header.format == "png":
        return not _png_is_whole(view)
    if header.format == "jpeg":
        return _jpeg_is_cut_off(view)
    return "truncated" in str(error).lower() or isinstance(error.__cause__ or error, (EOFError, IndexError))


def _jpeg_is_cut_off(view: memoryview) -> bool:
    """No end marker after the first scan, in whose bytes FF D9 cannot occur (in a thumbnail before it, it does)."""
    return b"\xff\xd9" not in bytes(view[read_markers(view).scan :])


def _png_is_whole(view: memoryview) -> bool:
    at = 8
    while at + 12 <= len(view):
        if bytes(view[at + 4 : at + 8]) == b"IEND":
            return True
        at += 12 + int.from_bytes(view[at : at + 4], "big")
    return False


def _as_rgb(image: Image.Image, header: Header) -> Rgb:
    icc = image.info.get("icc_profile")
    transparency = image.info.get("transparency")
    if image.mode.startswith("I;16") or (image.mode == "I" and header.bit_depth == 16):
        white_is_zero = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == 0
        return _from_16_bit(image, white_is_zero, transparency, icc)
    if image.mode in ("P", "PA"):
        has_alpha = image.mode == "PA" or transparency is not None
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif transparency is not None and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA")
    if image.mode in ("LA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        colours = np.asarray(to_srgb(image.convert("RGB"), icc))
        return colours if alpha.min() == 255 else compose_over(colours, alpha, _WHITE)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")  # YCbCr, LAB, HSV, RGBX
    return np.asarray(to_srgb(image, icc))


def _from_16_bit(image: Image.Image, white_is_zero: bool, transparency: object, icc: bytes | None) -> Rgb:
    """16-bit grey, scaled: Pillow's own conversion to 8 bits cuts off at 255, a white picture.

    white_is_zero: TIFF's PhotometricInterpretation 0, which Pillow turns round at 8 bits but not at 16.
    """
    values = np.asarray(image).astype(np.uint32)
    if white_is_zero:
        values = 65535 - values
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    if isinstance(transparency, int):
        grey[values == transparency] = 255
    if icc is not None and srgb_transform(icc, "L") is not None:
        return np.asarray(to_srgb(Image.fromarray(grey), icc))
    return _grey_to_rgb(grey)


def _grey_to_rgb(grey: npt.NDArray[np.uint8]) -> Rgb:
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
