"""A small reader of TIFF directories: for TIFF files, and for the EXIF block that other formats carry.

TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as libtiff documents it. Only integers are read, and only from the file's
own bytes: no pixel and nothing large is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, PHOTOMETRIC = 254, 256, 257, 258, 262
ORIENTATION, SAMPLES, SUB_IFDS, SAMPLE_FORMAT, ICC_PROFILE, DNG_VERSION = 274, 277, 330, 339, 34675, 50706
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325

_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_DIRECTORIES = 4096
_MOST_VALUES = 65536


@dataclass(frozen=True, slots=True)
class Directory:
    """The integer tags of a file's first directory, and how many directories the file has.

    tags: values by tag. present: tags of any type. complete: False when a tag's values lie beyond the end of the file.
    """

    tags: dict[int, tuple[int, ...]]
    present: frozenset[int]
    count: int
    complete: bool

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag, or the default."""
        values = self.tags.get(tag)
        return values[0] if values else default


def read_directory(view: memoryview) -> Directory | None:
    """The first directory of a TIFF (or EXIF) block; None when it is not one or ends before its directory does."""
    try:
        return _read(view)
    except struct.error:
        return None


def pixels_end(directory: Directory) -> int:
    """The position after the last byte of the first picture's strips or tiles; 0 when there are none."""
    ends = [0]
    for offsets, sizes in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES)):
        ends += [
            at + size for at, size in zip(directory.tags.get(offsets, ()), directory.tags.get(sizes, ()), strict=False)
        ]
    return max(ends)


def exif_orientation(view: memoryview) -> int:
    """Orientation 1..8 of an EXIF block (with or without its 'Exif' prefix); 1 when it does not say."""
    if bytes(view[:6]) == b"Exif\0\0":
        view = view[6:]
    directory = read_directory(view)
    value = directory.first(ORIENTATION, 1) if directory is not None else 1
    return value if 1 <= value <= 8 else 1


def _read(view: memoryview) -> Directory | None:
    magic = bytes(view[:4])
    if magic in (b"II*\0", b"II+\0"):
        order = "<"
    elif magic in (b"MM\0*", b"MM\0+"):
        order = ">"
    else:
        return None
    big = b"+" in magic
    offset_code, inline = ("Q", 8) if big else ("I", 4)
    entry = struct.Struct(order + ("HHQ" if big else "HHI"))
    offset: int = struct.unpack_from(order + offset_code, view, 8 if big else 4)[0]
    tags: dict[int, tuple[int, ...]] = {}
    present: set[int] = set()
    count, seen, complete = 0, set(), True
    while offset and offset not in seen and count < _MOST_DIRECTORIES:
        seen.add(offset)
        try:
            number: int = struct.unpack_from(order + ("Q" if big else "H"), view, offset)[0]
            at = offset + (8 if big else 2)
            following: int = struct.unpack_from(order + offset_code, view, at + number * (entry.size + inline))[0]
        except struct.error:
            if count == 0:
                raise
            break  # a later directory is cut off: what matters is the first
        if count == 0:
            for _ in range(min(number, 65535)):
                tag, kind, length = entry.unpack_from(view, at)
                present.add(tag)
                size = _SIZES.get(kind)
                if size is not None and 0 < length <= _MOST_VALUES:
                    start = at + entry.size
                    if size * length > inline:
                        start = struct.unpack_from(order + offset_code, view, start)[0]
                    complete = complete and start + size * length <= len(view)
                    if start + size * length <= len(view):
                        tags[tag] = struct.unpack_from(f"{order}{length}{_CODES[kind]}", view, start)
                at += entry.size + inline
        count += 1
        offset = following
    return Directory(tags, frozenset(present), count, complete) if count else None
