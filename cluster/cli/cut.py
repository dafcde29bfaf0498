"""`mattemill cut photo.jpg`: one photograph, the same stages, no Ray and no ledger."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mattemill.cluster.cli import options
from mattemill.cluster.cli.models import fetch_needed
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import MattemillError, UsageError

if TYPE_CHECKING:
    from mattemill.pipeline.hints import Hint

_STREAM = "-"
_SUFFIX_FORMATS = {".png": "png", ".webp": "webp"}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "cut",
        help="cut one photograph; '-' for stdin and stdout",
        description="Cut one photograph with the same stages as a job. Without -o the result lies beside the "
        "photograph, named after what it is: photo.jpg becomes photo.jpg.matte.png, "
        "photo.jpg.cutout.png or photo.jpg.composite.png. An existing result is written over, the photograph itself "
        "never.",
    )
    parser.add_argument("photo", metavar="PHOTO", help="a JPEG, PNG, WebP, TIFF, BMP or GIF file, or '-' for stdin")
    parser.add_argument("-o", "--out", metavar="FILE", help="result; '-' for stdout; its suffix says png or webp")
    options.add_cutting(parser)
    _add_hints(parser)
    options.add_config(parser)
    options.add_common(parser, json_help="size, boxes and scores as one JSON object (on stderr with -o -)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cut and write; the scores go to stderr. Raises ImageError when the photograph cannot be cut well."""
    config = options.config_of(args)
    out, config = _target(args, config)
    data = _read(args.photo)
    for given, what in ((args.photo, "photograph"), (args.trimap, "trimap"), (args.strokes, "strokes' file")):
        if given is not None:
            _refuse_own_input(given, out, what)
    fetch_needed(config.model, config.second_network)
    # onnxruntime and OpenCV are loaded here: wrong use is told without waiting for them.
    from mattemill.pipeline.cutter import CutFailedError, Cutter
    from mattemill.pipeline.errors import ImageError

    name = "stdin" if args.photo == _STREAM else args.photo
    try:
        hint = _hint(args, data)
        _build_engines(config)
        cutting = Cutter(config).cut(data, hint)
    except ImageError as error:
        facts: dict[str, Any] = {"photo": name, "outcome": "failure", "reason": error.reason, "message": error.message}
        if isinstance(error, CutFailedError):
            facts |= {"stage": error.failure.stage, "scores": _rounded(error.failure.facts.scores)}
        if args.json:
            print(json.dumps(facts), file=sys.stderr if out == _STREAM else sys.stdout)
        raise _NotCutError(f"{name}: {error.reason}: {error.message}") from error
    _write(out, cutting.encoded)
    down, across = cutting.pixels.shape[:2]
    facts = {
        "photo": name,
        "outcome": "matte",
        "out": out,
        "output": config.output,
        "format": config.format,
        "bytes": len(cutting.encoded),
        "width": cutting.facts.width,
        "height": cutting.facts.height,
        "output_width": across,
        "output_height": down,
        "boxes": [[round(v, 1) for v in box] for box in cutting.facts.boxes],
        "box_scores": [round(score, 4) for score in cutting.facts.box_scores],
        "scores": _rounded(cutting.facts.scores),
        "seconds": _rounded(cutting.facts.seconds),
        "device": dict(cutting.facts.device),
    }
    if hint is not None:
        facts["hint"] = {"kind": hint.kind, **hint.counts()}
    if args.json:
        print(json.dumps(facts), file=sys.stderr if out == _STREAM else sys.stdout)
    else:
        confidence = cutting.facts.scores.get("confidence")
        print(
            f"{name} -> {'stdout' if out == _STREAM else out}: {config.output} {across}x{down}"
            + (f", confidence {confidence:.2f}" if confidence is not None else "")
            + (f", {_told(hint)}" if hint is not None else "")
            + f", {sum(cutting.facts.seconds.values()):.2f} s",
            file=sys.stderr,
        )
    return 0


def _build_engines(config: JobConfig) -> None:
    """What the first photograph on a new GPU waits for, for minutes, told on stderr; nothing on a CPU."""
    from mattemill.pipeline.engines.place import place_of
    from mattemill.pipeline.models.load import ensure_engines

    place = place_of(config)
    if place.engine != "onnxruntime":
        from mattemill.cluster.cli.engines import BuildTeller

        ensure_engines(config, place, BuildTeller())


def _add_hints(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "what a person says of it",
        "A PNG of the photograph's size as shown. What it says for sure stands in the matte as it is; with it, no "
        "photograph ends as no_subject or low_confidence.",
    )
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--trimap", metavar="FILE", help="grey: 0 background, 255 foreground, anything between is to be found"
    )
    one.add_argument(
        "--strokes", metavar="FILE", help="green strokes on what to keep, red ones on what to remove, nothing elsewhere"
    )


def _hint(args: argparse.Namespace, data: bytes) -> Hint | None:
    """The hint that the arguments name, checked against the photograph. Raises HintError, ImageError."""
    from mattemill.pipeline.hints import read_hint
    from mattemill.pipeline.images.header import read_header

    for kind in ("trimap", "strokes"):
        if (path := getattr(args, kind)) is not None:
            return read_hint(Path(path), kind, read_header(data).shown_size)
    return None


def _told(hint: Hint) -> str:
    counts = hint.counts()
    if hint.kind == "strokes":
        return f"strokes: {counts['keep']:,} pixels to keep and {counts['remove']:,} to remove"
    return f"trimap: {counts['keep']:,} pixels in, {counts['remove']:,} out, {counts['open']:,} found"


class _NotCutError(MattemillError):
    """The photograph could not be cut; the message names it and the reason."""


def _target(args: argparse.Namespace, config: JobConfig) -> tuple[str, JobConfig]:
    """Where the result goes, and the settings with the format that its suffix asks for."""
    from dataclasses import replace

    if args.out is None:
        if args.photo == _STREAM:
            out = _STREAM
        else:
            photo = Path(args.photo)
            out = str(photo.with_name(f"{photo.name}.{config.output}.{config.format}"))
    else:
        out = args.out
        suffix = Path(out).suffix.lower()
        if out != _STREAM:
            if suffix not in _SUFFIX_FORMATS:
                raise UsageError(f"{out}: the result is a .png or .webp file")
            wanted = _SUFFIX_FORMATS[suffix]
            if args.format is not None and args.format != wanted:
                raise UsageError(f"{out}: --format {args.format} does not go with the suffix {suffix}")
            config = replace(config, format=wanted)
    if out == _STREAM and sys.stdout.isatty():
        raise UsageError("stdout is a terminal: redirect it, or name a file with -o")
    return out, config


def _read(photo: str) -> bytes:
    if photo == _STREAM:
        return sys.stdin.buffer.read()
    try:
        return Path(photo).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{photo}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{photo}: cannot be read ({error.strerror})") from error


def _refuse_own_input(given: str, out: str, what: str) -> None:
    if _STREAM in (given, out) or not os.path.exists(out):
        return
    if os.path.samefile(given, out):
        raise UsageError(f"{out}: is the {what} itself; name another file with -o")


def _write(out: str, data: bytes) -> None:
    """The whole file or none: a reader never sees half a matte."""
    if out == _STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(out)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o666 & ~_umask())
        os.replace(file.name, target)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror})") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _rounded(values: Any) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items()}
