"""Compiled kernels, kept by what they were made of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """$MATTEMILL_KERNELS, else `mattemill/kernels` in the user's cache folder."""
    given = os.environ.get("MATTEMILL_KERNELS")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mattemill" / "kernels"


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The file of that name, made by `make(path)` when it is not there yet.

    It appears whole or not at all, however many processes make it at once: they write aside and rename. Where the cache
    cannot be written, the file lies in a temporary folder of this machine's.
    """
    for folder in (cache_folder(), Path(tempfile.gettempdir()) / f"mattemill-kernels-{os.getuid()}"):
        final = folder / name
        if final.is_file():
            return final
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_uid != os.getuid():
                continue  # somebody else's: what lies there is not ours to run
            aside = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
        except OSError:
            continue
        try:
            made = aside / name
            make(made)
            made.replace(final)
        finally:
            for left in aside.iterdir():
                left.unlink()
            aside.rmdir()
        return final
    raise OSError(f"neither {cache_folder()} nor a temporary folder can be written: set MATTEMILL_KERNELS to one")
