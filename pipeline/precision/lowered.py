"""The files that a lowered network is: the ONNX, and a JSON beside it that says what it was made of and how it did."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from mattemill.pipeline.errors import ModelError, UsageError
from mattemill.pipeline.models.cache import file_sha256
from mattemill.pipeline.models.card import ByHand, ModelCard
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.precision.search import Candidates, Found
from mattemill.pipeline.precision.split import Calibrating

FORMAT: Final = 1

_TOOLS = ("mattemill", "onnx", "onnxruntime", "numpy")


def sidecar_of(path: Path) -> Path:
    """Where the JSON of a lowered network lies: u2netp-int8.onnx.json."""
    return path.with_name(f"{path.name}.json")


def describe(candidates: Candidates, found: Found, calibration: Sequence[Calibrating]) -> dict[str, Any]:
    """Everything that a sidecar says but the file's own hash, as plain data. Calibration files by name and hash."""
    recipe = None if candidates.to == "fp16" else dataclasses.asdict(candidates.recipe)
    return {
        "format": FORMAT,
        "model": candidates.card.name,
        "precision": candidates.to,
        "source_sha256": file_sha256(candidates.path),
        "source_bytes": candidates.path.stat().st_size,
        "recipe": recipe,
        "layers": found.layers,
        "kept_in_float32": list(found.kept),
        "light_in_float32": list(found.light),
        "moved_channels": [dataclasses.asdict(each) for each in found.moved],
        "gate": found.tries[-1].verdict.to_json(),
        "tries": [{"kept": list(each.kept), **each.verdict.to_json()} for each in found.tries],
        "calibration": [{"name": each.path.name, "sha256": each.sha256} for each in calibration],
        "tools": {name: _version(name) for name in _TOOLS},
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def publish(path: Path, data: bytes, content: dict[str, Any]) -> dict[str, Any]:
    """Write the sidecar, then the network, each by an atomic rename: what has the name is whole and has passed.

    Returns the sidecar's content. Raises UsageError when the folder cannot be written.
    """
    whole = {**content, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    try:
        _replace(sidecar_of(path), (json.dumps(whole, indent=1) + "\n").encode())
        _replace(path, data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error})") from error
    return whole


def card_of_file(path: Path) -> ModelCard:
    """The card of a lowered network: that of the network it was made of, under the file's name and with its hash.

    Raises ModelError when the sidecar is missing or damaged, or when the file is not the one that it describes.
    """
    try:
        content = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this mattemill reads {FORMAT}")
        model, sha256, size = str(content["model"]), str(content["sha256"]), int(content["bytes"])
        precision = str(content["precision"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{sidecar_of(path)}: cannot be read ({error}); `mattemill quantize` writes it beside the network"
        ) from error
    got = file_sha256(path)
    if got != sha256:
        raise ModelError(f"{path}: its sha256 is {got}, its sidecar says {sha256}: make it again")
    base = card_of(model)
    return dataclasses.replace(
        base,
        name=path.stem,
        sha256=sha256,
        size_bytes=size,
        source=ByHand(str(path), f"`mattemill quantize {model} --to {precision}` made it"),
        output=dataclasses.replace(base.output, names=base.output.names[:1]),
        default=False,
    )


def _replace(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
