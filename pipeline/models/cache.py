"""Where fetched networks lie, and whether a file is the one that its card describes."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.card import ModelCard, Shipped
from mattemill.pipeline.models.cards import card_of


def cache_folder() -> Path:
    """The model cache: $MATTEMILL_MODELS, else `mattemill/models` in the user's cache folder."""
    given = os.environ.get("MATTEMILL_MODELS")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mattemill" / "models"


def cached_file(card: ModelCard) -> Path:
    """Where the card's file lies once it is fetched; it need not be there. A shipped one lies in the package."""
    if isinstance(card.source, Shipped):
        return Path(__file__).parent / "weights" / card.source.file
    return cache_folder() / card.file_name


def is_fetched(card: ModelCard) -> bool:
    """Whether the file is in the cache (its hash is not looked at)."""
    return cached_file(card).is_file()


def file_sha256(path: Path) -> str:
    """sha256 of a file as 64 hex digits. Raises ModelError when it cannot be read."""
    try:
        stat = path.stat()
        return _sha256(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ModelError(f"{path}: the network's file cannot be read ({error})") from error


@lru_cache(maxsize=32)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Hash once a process and version of the file: 176 MB take 0.1-0.3 s."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(card: ModelCard, path: Path) -> None:
    """Raise ModelError unless the file is, bit for bit, the one that the card describes."""
    got = file_sha256(path)
    if got != card.sha256:
        raise ModelError(
            f"{path}: not the file of model {card.name}: sha256 is {got} ({path.stat().st_size} bytes), "
            f"the card says {card.sha256} ({card.size_bytes} bytes). It was cut off, changed or is another version: "
            f"get it again; if it lies in the model cache, delete it and run `mattemill models fetch {card.name}`"
        )


def model_path(name: str) -> Path:
    """The fetched and hash-checked file of a model.

    Raises ModelError when the model is not known, not fetched, or not the file of its card.
    """
    card = card_of(name)
    path = cached_file(card)
    if not path.is_file():
        if isinstance(card.source, Shipped):
            raise ModelError(f"model {name} comes with mattemill, but {path} is not there: install the package again")
        raise ModelError(
            f"model {name} is not in the cache ({path}): run `mattemill models fetch {name}`, "
            "or set MATTEMILL_MODELS to the folder that has it"
        )
    check_file(card, path)
    return path
