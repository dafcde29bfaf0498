"""Files that a photograph's file can turn out to be, made here and byte for byte the same every time.

`odd_images()` gives all of them by name, with what must become of each. Tests of every level share them:
`from odd_images import odd_images`.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from mattemill.pipeline.reasons import Reason

Expected = Reason | tuple[int, int]
"""The reason with which reading must fail, or (width, height) as shown of what must come out."""


def odd_images() -> dict[str, tuple[bytes, Expected]]:
    """Every odd file by a name that could be a key: (its bytes, what must become of it).

    The sizes are what decoding gives; whether a subject is found in a 1x1 picture is another matter.
    """
    shown = (480, 360)
    files: dict[str, tuple[bytes, Expected]] = {
        "empty.jpg": (b"", Reason.TRUNCATED),
        "text.jpg": (b"This is a note and not a photograph.\n" * 40, Reason.UNSUPPORTED_TYPE),
        "truncated.jpg": (cut(jpeg(), 0.6), Reason.TRUNCATED),
        "truncated.png": (cut(png(), 0.6), Reason.TRUNCATED),
        "bomb.png": (bomb_png(50_000, 50_000), Reason.TOO_LARGE),
        "twelve_megapixels.jpg": (jpeg(photograph(4000, 3000)), (4000, 3000)),
        "one_pixel.png": (png(photograph(1, 1)), (1, 1)),
        "strip.png": (png(photograph(30_000, 10)), (30_000, 10)),
        "cmyk.jpg": (cmyk_jpeg(), shown),
        "grey.jpg": (grey_jpeg(), shown),
        "grey_16_bit.png": (grey_16_bit_png(), shown),
        "rgb_16_bit.png": (rgb_16_bit_png(), shown),
        "grey_16_bit.tif": (grey_16_bit_tiff(), shown),
        "palette_transparent.png": (palette_png(), shown),
        "rgba.png": (rgba_png(), shown),
        "grey_alpha.png": (grey_alpha_png(), shown),
        "display_p3.jpg": (display_p3_jpeg(), shown),
        "animated.gif": (animated_gif(), shown),
        "animated.webp": (animated_webp(), shown),
        "lossy.webp": (webp(), shown),
        "plain.bmp": (bmp(), shown),
        "lzw.tif": (tiff(), shown),
        "heic.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), Reason.UNSUPPORTED_TYPE),
        "drawing.svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', Reason.UNSUPPORTED_TYPE),
        "document.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", Reason.UNSUPPORTED_TYPE),
    }
    for orientation in range(1, 9):
        files[f"orientation_{orientation}.jpg"] = (oriented_jpeg(orientation), shown)
    return files


@functools.cache
def photograph(width: int = 480, height: int = 360) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3), read-only: a red mug with a handle on the right, on a light table. No symmetry, no noise.

    Drawn in proportion, so that every size shows the same.
    """
    scale = 4 if width * height <= 2_000_000 else 1
    w, h = width * scale, height * scale
    down = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
    canvas = (np.array([226, 230, 235], np.float32) * (1 - down) + np.array([186, 178, 170], np.float32) * down).repeat(
        w, axis=1
    )

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * w), round(y * h)

    thick = max(1, round(0.05 * min(w, h)))
    cv2.ellipse(canvas, at(0.62, 0.50), (max(1, w // 9), max(1, h // 6)), 0, 0, 360, (150, 30, 34), thick, cv2.LINE_AA)
    cv2.rectangle(canvas, at(0.30, 0.25), at(0.60, 0.80), (196, 44, 40), -1, cv2.LINE_AA)
    cv2.ellipse(
        canvas, at(0.45, 0.25), (max(1, round(0.15 * w)), max(1, h // 20)), 0, 0, 360, (90, 20, 24), -1, cv2.LINE_AA
    )
    cv2.rectangle(canvas, at(0.34, 0.40), at(0.42, 0.52), (250, 240, 200), -1, cv2.LINE_AA)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    pixels = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def subject_mask(width: int = 480, height: int = 360) -> npt.NDArray[np.uint8]:
    """uint8 (H, W) of 0 or 255: where the mug of `photograph` is."""
    pixels = photograph(width, height).astype(np.int16)
    red = (pixels[..., 0] - pixels[..., 1] > 40) | (pixels.max(axis=2) < 120)
    mask = np.asarray(red * 255, np.uint8)
    label = np.asarray((pixels[..., 0] - pixels[..., 2] > 30) * 255, np.uint8)
    return mask | label


def cut(data: bytes, share: float) -> bytes:
    """The first part of a file, as an upload leaves it that was cut off."""
    return data[: int(len(data) * share)]


def _save(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(pixels: npt.NDArray[np.uint8] | None = None, **options: object) -> bytes:
    return _save(Image.fromarray(photograph() if pixels is None else pixels), "JPEG", **{"quality": 92, **options})


def png(pixels: npt.NDArray[np.uint8] | None = None) -> bytes:
    return _save(Image.fromarray(photograph() if pixels is None else pixels), "PNG")


def webp() -> bytes:
    return _save(Image.fromarray(photograph()), "WEBP", quality=90)


def bmp() -> bytes:
    return _save(Image.fromarray(photograph()), "BMP")


def tiff(**options: object) -> bytes:
    return _save(Image.fromarray(photograph()), "TIFF", **{"compression": "tiff_lzw", **options})


def oriented_jpeg(orientation: int) -> bytes:
    """A file that a viewer shows as `photograph()`, stored the way that the EXIF orientation says."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # counter-clockwise, so that 'turn it clockwise' undoes it
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(photograph())
    if orientation in back:
        image = image.transpose(back[orientation])
    return _save(image, "JPEG", quality=92, exif=exif(orientation))


def exif(orientation: int) -> bytes:
    """An EXIF block with an orientation and, as telephones add it, the place where the picture was taken."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Mattemill Phone"
    block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return block.tobytes()


def cmyk_jpeg() -> bytes:
    return _save(Image.fromarray(photograph()).convert("CMYK"), "JPEG", quality=95)


def grey_jpeg() -> bytes:
    return _save(Image.fromarray(photograph()).convert("L"), "JPEG", quality=92)


def grey() -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(photograph()).convert("L"))


def grey_16_bit_png() -> bytes:
    """Every 8-bit value v as v * 257: exactly the same grey."""
    return _save(Image.fromarray(grey().astype(np.uint16) * 257), "PNG")


def grey_16_bit_tiff() -> bytes:
    return _save(Image.fromarray(grey().astype(np.uint16) * 257), "TIFF")


def rgb_16_bit_png() -> bytes:
    wide = photograph().astype(np.uint16) * 257
    ok, encoded = cv2.imencode(".png", wide[..., ::-1])
    assert ok
    return encoded.tobytes()


def palette_png() -> bytes:
    """The mug in 64 colours; the table is transparent."""
    image = Image.fromarray(photograph()).quantize(64)
    indices = np.array(image)
    indices[subject_mask() == 0] = 64
    out = Image.fromarray(indices)
    out.putpalette([*(image.getpalette() or []), 0, 0, 0])
    return _save(out, "PNG", transparency=64)


def rgba_png() -> bytes:
    """The mug on full transparency under which the old table's colours are still there."""
    return _save(Image.fromarray(np.dstack([photograph(), subject_mask()])), "PNG")


def grey_alpha_png() -> bytes:
    return _save(Image.merge("LA", [Image.fromarray(grey()), Image.fromarray(subject_mask())]), "PNG")


def animated_gif() -> bytes:
    first = Image.fromarray(photograph()).quantize(128)
    others = [Image.fromarray(np.roll(photograph(), 40 * i, axis=1)).quantize(128) for i in (1, 2)]
    return _save(first, "GIF", save_all=True, append_images=others, duration=100, loop=0)


def animated_webp() -> bytes:
    first = Image.fromarray(photograph())
    others = [Image.fromarray(np.roll(photograph(), 40 * i, axis=1)) for i in (1, 2)]
    return _save(first, "WEBP", save_all=True, append_images=others, duration=100, lossless=True)


def bomb_png(width: int, height: int) -> bytes:
    """A valid header of any size and next to no pixels: 70 bytes that ask for gigabytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def display_p3_jpeg() -> bytes:
    """`photograph` as a telephone stores it: the same colours, in Display P3 numbers and with that profile."""
    profile = display_p3_profile()
    p3 = ImageCms.profileToProfile(
        Image.fromarray(photograph()),
        ImageCms.createProfile("sRGB"),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert p3 is not None
    return _save(p3, "JPEG", quality=97, subsampling=0, icc_profile=profile)


def display_p3_profile() -> bytes:
    """An ICC v2 matrix profile: SMPTE EG 432-1 primaries adapted to D50 by Bradford's method, the sRGB curve."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(x) + fixed(y) + fixed(z)

    steps = np.linspace(0, 1, 1024)
    curve = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    values = np.rint(curve * 65535).astype(">u2").tobytes()
    trc = b"curv\0\0\0\0" + struct.pack(">I", 1024) + values
    text = b"Display P3 (test)\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    tags = [
        (b"desc", description),
        (b"cprt", b"text\0\0\0\0CC0\0"),
        (b"wtpt", xyz(0.9642, 1.0, 0.8249)),
        (b"rXYZ", xyz(0.51512, 0.24120, -0.00105)),
        (b"gXYZ", xyz(0.29198, 0.69225, 0.04189)),
        (b"bXYZ", xyz(0.15710, 0.06657, 0.78407)),
        (b"rTRC", trc),
        (b"gTRC", trc),
        (b"bTRC", trc),
    ]
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(value))
        body += value
    rest = table + body
    header = struct.pack(">I4sI4s4s4s", 128 + len(rest), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return header.ljust(128, b"\0") + rest
