"""A JPEG's markers up to its first scan: what its pixels need, without decoding one.

ITU-T T.81 (JPEG), annex B; the ICC chunks after ICC.1:2010, annex B.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from mattemill.pipeline.images.tiff_tags import exif_orientation

_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_END, _SCAN, _APP1, _APP2, _APP14 = 0xD9, 0xDA, 0xE1, 0xE2, 0xEE
_ICC = b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class JpegMarkers:
    """What stands before the first scan. width and height are 0 when the file has no frame header.

    ends_early: the bytes end before the first scan begins. scan: position of the first scan, where there is one.
    frame: marker of the frame header: 0xC0 and 0xC1 sequential, 0xC2 progressive, others lossless or arithmetic.
    sampling: (identifier, horizontal, vertical) factors by component. adobe: the colour transform that Adobe's APP14
    segment names (0 none, 1 YCbCr, 2 YCCK), None without one.
    """

    width: int = 0
    height: int = 0
    components: int = 0
    precision: int = 0
    orientation: int = 1
    icc: bytes | None = None
    ends_early: bool = False
    scan: int = 0
    frame: int = 0
    sampling: tuple[tuple[int, int, int], ...] = ()
    adobe: int | None = None


def read_markers(view: memoryview) -> JpegMarkers:
    """Walk the markers of a file that begins with FF D8; never raises."""
    at, end = 2, len(view)
    width = height = components = precision = 0
    orientation, frame = 1, 0
    sampling: tuple[tuple[int, int, int], ...] = ()
    adobe: int | None = None
    icc: dict[int, bytes] = {}
    ends_early = False
    while True:
        at = _next_marker(view, at)
        if at >= end:
            ends_early = True
            break
        marker = view[at]
        at += 1
        if marker in _ALONE:
            continue
        if marker == _END:
            break
        length = (view[at] << 8) | view[at + 1] if at + 2 <= end else 2
        if at + length > end:
            ends_early = True
            break
        if marker == _SCAN or length < 2:
            break
        body = view[at + 2 : at + length]
        if marker in _FRAMES and not width and len(body) >= 6:
            precision = body[0]
            height, width = (body[1] << 8) | body[2], (body[3] << 8) | body[4]
            components, frame = body[5], marker
            sampling = tuple((body[i], body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, len(body) - 2, 3))
        elif marker == _APP1 and bytes(body[:6]) == b"Exif\0\0":
            orientation = exif_orientation(body)
        elif marker == _APP2 and bytes(body[:12]) == _ICC and len(body) > 14:
            icc[body[12]] = bytes(body[14:])
        elif marker == _APP14 and bytes(body[:5]) == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        at += length
    profile = b"".join(part for _, part in sorted(icc.items())) if icc else None
    return JpegMarkers(
        width=width,
        height=height,
        components=components,
        precision=precision,
        orientation=orientation,
        icc=profile,
        ends_early=ends_early,
        scan=at,
        frame=frame,
        sampling=sampling,
        adobe=adobe,
    )


def _next_marker(view: memoryview, at: int) -> int:
    """Position of the next marker's code: after any fill bytes, and after stray bytes as decoders skip them."""
    end = len(view)
    while at < end:
        if view[at] != 0xFF:
            found = bytes(view[at : at + 4096]).find(b"\xff")
            at += found if found >= 0 else 4096
            continue
        while at < end and view[at] == 0xFF:
            at += 1
        if at < end and view[at] != 0:
            return at
    return end
