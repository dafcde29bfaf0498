"""What a source leaves out, and how it is counted: nothing is left out in silence."""

from __future__ import annotations

import functools
import os

from mattemill.pipeline.storage.location import FILE, Location

_NAMES = """
    7z avi bak bin bz2 c cfg conf cpp css csv db doc docx exe gz h htm html ini ipynb js json jsonl lock log lz4
    m4a m4v md mkv mov mp3 mp4 mpeg mpg npy npz onnx orc parquet pdf pickle pkl ppt pptx pt py rar rst rtf sh so
    sql sqlite tar tgz toml ts tsv ttf txt wav webm woff woff2 xls xlsx xml xz yaml yml zip zst
"""
NOT_IMAGES = frozenset("." + name for name in _NAMES.split())
"""Suffixes that no photograph has. Every other key is taken, also one without a suffix: its bytes decide."""

FOLDER_MARKER = "folder marker"
OUTPUT = "output of mattemill"
DUPLICATE = "duplicate key"


_FOLDERS = 4096  # whose real paths are remembered: a listing comes folder by folder, a manifest in any order


class Skipping:
    """Decides which keys of a listing are no photographs, and counts them by kind.

    For one listing: what symbolic links point to is remembered.
    """

    def __init__(self, exclude: Location | None = None) -> None:
        self.counts: dict[str, int] = {}
        self._exclude = exclude.real_root if exclude is not None else None
        self._follow = exclude is not None and exclude.scheme == FILE
        self._real_folder = functools.lru_cache(_FOLDERS)(os.path.realpath)

    def count(self, kind: str) -> None:
        """One more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def is_output(self, uri: str, key: str) -> bool:
        """Whether an object lies in the sink of this job, or among a ledger's own data; counts it if so.

        A local sink is found under every path that leads to it: the source may reach it by a symbolic link.
        """
        if "/_mattemill/" in f"/{key}" or (self._exclude is not None and self._real(uri).startswith(self._exclude)):
            self.count(OUTPUT)
            return True
        return False

    def _real(self, uri: str) -> str:
        if not self._follow or not uri.startswith("file:///"):
            return uri
        path = uri.removeprefix("file://")
        if os.path.islink(path):
            return "file://" + os.path.realpath(path)
        folder, _, name = path.rpartition("/")
        return f"file://{self._real_folder(folder or '/').rstrip('/')}/{name}"

    def is_no_image(self, key: str) -> bool:
        """Whether a key is a folder marker or has the suffix of something else; counts it if so."""
        name = key.rpartition("/")[2]
        if not name:
            self.count(FOLDER_MARKER)
            return True
        dot = name.rfind(".")
        if dot > 0 and (suffix := name[dot:].lower()) in NOT_IMAGES:
            self.count(f"{suffix} file")
            return True
        return False
