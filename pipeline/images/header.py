"""An image file's header: type, size, depth, orientation, before a single pixel is allocated.

Own readers of a few hundred bytes each, because every image passes here once and Pillow's way costs several times
as much, refuses large sizes on its own terms and, for WebP, allocates the canvas.
"""

from __future__ import annotations

import struct

from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images import tiff_tags
from mattemill.pipeline.images.buffers import Data, view_of
from mattemill.pipeline.images.jpeg_markers import read_markers
from mattemill.pipeline.photo import Header
from mattemill.pipeline.reasons import Reason

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_MOST_CHUNKS = 100_000  # of PNG, WebP or GIF that are walked: a hostile file cannot hold up the fetch stage


def read_header(data: Data) -> Header:
    """What the file's first bytes say; the extension plays no part.

    data: the whole encoded file, not empty (bytes or a uint8 (n,) array). Raises ImageError: TRUNCATED for an empty
    file and for one that ends inside its header, UNSUPPORTED_TYPE naming the type for anything that is not a JPEG, PNG,
    WebP, GIF, TIFF or BMP and for a TIFF without a defined white (floating point, 32 bits a channel), UNDECODABLE for a
    header that makes no sense. Sizes are not judged: see `check_limits`.
    """
    view = view_of(data)
    if len(view) == 0:
        raise ImageError(Reason.TRUNCATED, "the file is empty (0 bytes); upload it again")
    start = bytes(view[:16])
    if start[:3] == b"\xff\xd8\xff":
        header = _jpeg(view)
    elif start[:8] == _PNG_SIGNATURE:
        header = _png(view)
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        header = _webp(view)
    elif start[:6] in (b"GIF87a", b"GIF89a"):
        header = _gif(view)
    elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        header = _tiff(view)
    elif start[:2] == b"BM" and len(view) >= 18 and struct.unpack_from("<I", view, 14)[0] in _BMP_HEADERS:
        header = _bmp(view)
    else:
        raise _not_an_image(view)
    if header.width < 1 or header.height < 1:
        raise ImageError(
            Reason.UNDECODABLE,
            f"the {header.format.upper()} header gives a size of {header.width}x{header.height} pixels",
        )
    return header


def check_limits(header: Header, n_bytes: int, max_pixels: int, max_file_bytes: int) -> None:
    """Raise ImageError TOO_LARGE when the encoded file or its decoded size is over the job's limits.

    n_bytes: size of the encoded file. max_pixels: of width x height. Nothing is allocated.
    """
    if n_bytes > max_file_bytes:
        raise ImageError(
            Reason.TOO_LARGE, f"the file has {n_bytes} bytes, over the limit of {max_file_bytes} (max_file_bytes)"
        )
    pixels = header.width * header.height
    if pixels > max_pixels:
        raise ImageError(
            Reason.TOO_LARGE,
            f"{header.width}x{header.height} are {pixels} pixels, over the limit of {max_pixels} (max_pixels)",
        )


def _cut_off(kind: str) -> ImageError:
    return ImageError(Reason.TRUNCATED, f"the {kind} ends inside its header; upload it again")


def _jpeg(view: memoryview) -> Header:
    markers = read_markers(view)
    if markers.ends_early:
        raise _cut_off("JPEG")
    if not markers.width or not markers.height:
        raise ImageError(Reason.UNDECODABLE, "the JPEG has no frame header with a size before its scan")
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(markers.components)
    if mode is None:
        raise ImageError(
            Reason.UNDECODABLE, f"the JPEG has {markers.components} colour components; 1, 3 and 4 are known"
        )
    return Header(
        "jpeg", markers.width, markers.height, mode, markers.precision, markers.orientation, markers.icc is not None
    )


def _png(view: memoryview) -> Header:
    if len(view) < 33:
        raise _cut_off("PNG")
    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", view, 8)
    if name != b"IHDR" or length != 13 or depth not in _PNG_DEPTHS.get(colour, ()):
        raise ImageError(Reason.UNDECODABLE, "the PNG does not begin with a valid IHDR chunk")
    mode = "I;16" if (colour, depth) == (0, 16) else "1" if (colour, depth) == (0, 1) else _PNG_MODES[colour]
    orientation, has_icc, frames = 1, False, 1
    at = 33
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(view):
            break
        length, name = struct.unpack_from(">I4s", view, at)
        if name == b"IEND":
            break
        if name == b"iCCP":
            has_icc = True
        elif name == b"eXIf":
            orientation = tiff_tags.exif_orientation(view[at + 8 : at + 8 + length])
        elif name == b"acTL" and length >= 4 and at + 12 <= len(view):
            frames = max(1, struct.unpack_from(">I", view, at + 8)[0])
        at += 12 + length
    return Header("png", width, height, mode, depth, orientation, has_icc, frames)


def _webp(view: memoryview) -> Header:
    if len(view) < 30:
        raise _cut_off("WebP")
    first = bytes(view[12:16])
    orientation, has_icc, frames = 1, False, 1
    if first == b"VP8 ":
        if bytes(view[23:26]) != b"\x9d\x01\x2a":
            raise ImageError(Reason.UNDECODABLE, "the WebP's VP8 frame has no start code")
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", view, 26))
        return Header("webp", width, height, "RGB", 8)
    if first == b"VP8L":
        bits: int = struct.unpack_from("<I", view, 21)[0]
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        return Header("webp", width, height, "RGBA" if bits >> 28 & 1 else "RGB", 8)
    if first != b"VP8X":
        raise ImageError(Reason.UNDECODABLE, f"the WebP begins with an unknown chunk {first!r}")
    flags = view[20]
    width = 1 + int.from_bytes(view[24:27], "little")
    height = 1 + int.from_bytes(view[27:30], "little")
    has_icc = bool(flags & 0x20)
    if flags & 0x0A:  # animation or EXIF: only then are the chunks walked
        found, at = 0, 30
        for _ in range(_MOST_CHUNKS):
            if at + 8 > len(view):
                break
            name, length = struct.unpack_from("<4sI", view, at)
            if name == b"ANMF":
                found += 1
            elif name == b"EXIF":
                orientation = tiff_tags.exif_orientation(view[at + 8 : at + 8 + length])
            at += 8 + length + (length & 1)
        frames = max(1, found)
    return Header("webp", width, height, "RGBA" if flags & 0x10 else "RGB", 8, orientation, has_icc, frames)


def _gif(view: memoryview) -> Header:
    """The first frame can be larger than the screen that the header gives, and decoders follow it: so do we."""
    if len(view) < 13:
        raise _cut_off("GIF")
    width, height, flags = struct.unpack_from("<HHB", view, 6)
    at = 13 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
    frames = 0
    steps = 0
    while at + 1 <= len(view) and steps < _MOST_CHUNKS:
        block = view[at]
        if block == 0x2C and at + 10 <= len(view):
            left, top, across, down, flags = struct.unpack_from("<HHHHB", view, at + 1)
            if frames == 0:
                width, height = max(width, left + across), max(height, top + down)
            frames += 1
            at += 10 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0) + 1
        elif block == 0x21:
            at += 2
        else:
            break
        while at < len(view) and view[at] and steps < _MOST_CHUNKS:
            at += 1 + view[at]
            steps += 1
        at += 1
        steps += 1
    if frames == 0:
        raise _cut_off("GIF")
    return Header("gif", width, height, "P", 8, frames=frames)


def _tiff(view: memoryview) -> Header:
    directory = tiff_tags.read_directory(view)
    if directory is None or not directory.complete:
        raise _cut_off("TIFF")
    raw = tiff_tags.DNG_VERSION in directory.present or (
        directory.first(tiff_tags.NEW_SUBFILE_TYPE, 0) & 1 and tiff_tags.SUB_IFDS in directory.present
    )
    if raw or bytes(view[8:10]) == b"CR":
        # Its first picture is a thumbnail: cutting that would be worse than saying no.
        raise ImageError(Reason.UNSUPPORTED_TYPE, "the file is a camera raw (DNG, NEF, CR2 ...); export a JPEG or TIFF")
    width, height = directory.first(tiff_tags.WIDTH, 0), directory.first(tiff_tags.HEIGHT, 0)
    depth = directory.first(tiff_tags.BITS, 1)
    if depth > 16 or directory.first(tiff_tags.SAMPLE_FORMAT, 1) == 3:
        kind = " as floating point" if directory.first(tiff_tags.SAMPLE_FORMAT, 1) == 3 else ""
        raise ImageError(
            Reason.UNSUPPORTED_TYPE,
            f"the TIFF has {depth} bits a channel{kind} and no defined white; save it with 8 or 16 bits",
        )
    samples = directory.first(tiff_tags.SAMPLES, 1)
    photometric = directory.first(tiff_tags.PHOTOMETRIC, 1)
    if photometric == 3:
        mode = "P"
    elif photometric == 5:
        mode = "CMYK"
    elif samples >= 3:
        mode = "RGBA" if samples > 3 else "RGB"
    elif samples == 2:
        mode = "LA"
    else:
        mode = {1: "1", 16: "I;16"}.get(depth, "L")
    orientation = directory.first(tiff_tags.ORIENTATION, 1)
    return Header(
        "tiff",
        width,
        height,
        mode,
        depth,
        orientation if 1 <= orientation <= 8 else 1,
        tiff_tags.ICC_PROFILE in directory.present,
        directory.count,
    )


def _bmp(view: memoryview) -> Header:
    if len(view) < 30:
        raise _cut_off("BMP")
    size: int = struct.unpack_from("<I", view, 14)[0]
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", view, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", view, 18)
    return Header("bmp", abs(width), abs(height), "P" if bits <= 8 else "RGB", 8 if bits > 4 else bits)


_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%!PS", "PostScript"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x00\x00\x01\x00", "a Windows icon"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"FUJIFILM", "a camera raw"),
    (0, b"\x1a\x45\xdf\xa3", "a video (Matroska)"),
    (0, b"RIFF", "a RIFF file that is no WebP"),
)
_BRANDS = {b"avif": "an AVIF", b"avis": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC", b"heim": "a HEIC",
           b"heis": "a HEIC", b"hevc": "a HEIC", b"mif1": "a HEIF", b"msf1": "a HEIF", b"crx ": "a camera raw",
           b"qt  ": "a video (QuickTime)"}  # fmt: skip


def _not_an_image(view: memoryview) -> ImageError:
    start = bytes(view[:512])
    kind = "of a type that is not known here"
    for at, magic, name in _OTHERS:
        if start[at : at + len(magic)] == magic:
            kind = name
            break
    else:
        text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start[4:8] == b"ftyp":
            kind = _BRANDS.get(start[8:12], "a video (MP4)")
        elif b"<svg" in text:
            kind = "an SVG"
        elif text.startswith((b"<!doctype html", b"<html")):
            kind = "an HTML page (an error page saved as a picture?)"
        elif _is_text(start):
            kind = "text"
        elif not start.strip(b"\0"):
            kind = "zeros only"
    return ImageError(
        Reason.UNSUPPORTED_TYPE,
        f"the file is {kind}; JPEG, PNG, WebP, TIFF, BMP and GIF are read, whatever the name says",
    )


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # a character that the end of the excerpt cuts is no reason
            return False
        text = start[: error.start].decode("utf-8")
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f" for letter in text)
