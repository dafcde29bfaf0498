"""`mattemill demo`: the real job on the sample photographs, with a real S3 server on this machine."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mattemill.cluster.cli import say
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import MattemillError, UsageError

_SOURCE, _SINK, _BUCKET = "s3://catalog/photos/", "s3://catalog/mattes/", "catalog"
_SAMPLES = Path(__file__).resolve().parents[2] / "tests" / "samples" / "photos"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_MOST_PHOTOGRAPHS = 60
_MODES = {"L": "greyscale", "P": "palette"}
_GRACE = 100.0  # seconds for the job to drain after Ctrl-C: a little over its drain_timeout


class DemoError(MattemillError):
    """The demo did not end as it should; the message says which photograph, or which command."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="cut the sample photographs through a local S3 server, and draw a contact sheet",
        description="Starts an S3 server on a loopback port, uploads photographs, runs `mattemill run` on them twice, "
        "and draws what came out.",
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="your own photographs instead of the samples")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR", help="default: demo-out")
    parser.add_argument("--keep", action="store_true", help="leave the S3 server running until Ctrl-C, to look around")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)


class Phases:
    """Wall time by phase, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - started


def run(args: argparse.Namespace) -> int:
    """The whole demo. Raises DemoError when something did not end as it should."""
    from mattemill.cluster.cli.models import fetch_needed
    from mattemill.pipeline.storage.embedded_server import EmbeddedS3

    photographs = find_photographs(args.photos or _SAMPLES)
    args.out.mkdir(parents=True, exist_ok=True)
    phases = Phases()
    with _terminated_like_interrupted():
        with phases("network fetched"):
            fetch_needed(JobConfig().model)
        with phases("S3 server started"):
            server = EmbeddedS3([_BUCKET])
            server.start()
        with server:
            _use_server(server.environment())
            print(f"S3 server at {server.endpoint_url}")
            with phases("photographs uploaded"):
                upload(photographs)
            print(f"{say.count(len(photographs), 'photograph')} uploaded to {_SOURCE}")
            with phases("first run"):
                _mattemill("run", _SOURCE, _SINK)
            with phases("second run"):
                _mattemill("run", _SOURCE, _SINK)
            with phases("contact sheet drawn"):
                sheet = draw_sheet(photographs, args.out)
                _mattemill("failures", _SINK, "--previews", str(args.out / "failures"), quiet=True)
            if args.photos is None:
                check_outcomes(photographs)
            print(_ending(phases, sheet, args.out))
            if args.keep:
                _keep(server.environment())
    return 0


def find_photographs(folder: Path) -> dict[str, Path]:
    """Key below the source -> file. Raises UsageError when there is none, or too many for a demo."""
    if not folder.is_dir():
        hint = "" if folder != _SAMPLES else " (the samples come with the repository: use --photos DIR elsewhere)"
        raise UsageError(f"{folder}: there is no such folder{hint}")
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix.lower() in _SUFFIXES
    }
    if not found:
        raise UsageError(f"{folder}: holds no photographs ({', '.join(_SUFFIXES)})")
    if len(found) > _MOST_PHOTOGRAPHS:
        raise UsageError(f"{folder}: {len(found)} photographs are too many for a demo (up to {_MOST_PHOTOGRAPHS})")
    return found


def upload(photographs: Mapping[str, Path]) -> None:
    """Put the photographs below the source."""
    from mattemill.pipeline.storage.location import Location, open_store

    location = Location.parse(_SOURCE)
    store = open_store(location, JobConfig())
    for key, path in photographs.items():
        store.put(location.key(key), path.read_bytes(), content_type="application/octet-stream")


def draw_sheet(photographs: Mapping[str, Path], out: Path) -> Path:
    """Read the outcomes from the ledger and the mattes from the sink; write contact-sheet.png. Returns its path."""
    from mattemill.pipeline.contact_sheet import contact_sheet
    from mattemill.pipeline.ledger.queries import failures

    report = failures(_SINK, JobConfig(), limit=len(photographs))
    failed = {example.key: (group.reason, example) for group in report.groups for example in group.examples}
    previews, scores = _previews(report), _confidences(report.fingerprint)
    tiles = []
    for key, path in photographs.items():
        if key in failed:
            reason, example = failed[key]
            tiles.append(_failed_tile(key, path, reason, example.message, previews.get((key, example.generation))))
        else:
            tiles.append(_cut_tile(key, path, scores.get(key)))
    sheet = contact_sheet(
        tiles,
        "mattemill",
        f"{len(photographs) - len(failed)} of {len(photographs)} photographs cut (photo, matte, cut-out on a colour), "
        f"{len(failed)} failed (picture if there is one, reason)",
    )
    target = out / "contact-sheet.png"
    sheet.save(target)
    return target


def _previews(report: Any) -> dict[tuple[str, int], bytes]:
    from mattemill.cluster.cli.failures_page import read_previews

    wanted = {(example.key, example.generation) for group in report.groups for example in group.examples}
    return read_previews(_SINK, JobConfig(), report, wanted)


def _confidences(fingerprint: str | None) -> dict[str, float]:
    """key -> score 0..1 from the outcome files."""
    from mattemill.pipeline.ledger.layout import layout_below
    from mattemill.pipeline.ledger.outcome_file import OutcomeFile
    from mattemill.pipeline.ledger.reading import read_inventory
    from mattemill.pipeline.ledger.schema import PACKED_SCHEMA
    from mattemill.pipeline.storage.location import Location, open_store

    found: dict[str, float] = {}

    def take(file: OutcomeFile) -> None:
        for row in file.table.select(["key", "scores"]).to_pylist():
            scores = dict(row["scores"] or ())
            if "confidence" in scores:
                found[row["key"]] = scores["confidence"]

    location = Location.parse(_SINK)
    if fingerprint is not None:
        read_inventory(
            open_store(location, JobConfig()), layout_below(location.prefix), fingerprint, take, PACKED_SCHEMA
        )
    return found


def _cut_tile(key: str, path: Path, confidence: float | None) -> Any:
    import cv2
    import numpy as np

    from mattemill.pipeline.contact_sheet import CutTile
    from mattemill.pipeline.images.decode import decode
    from mattemill.pipeline.images.header import read_header
    from mattemill.pipeline.output_key import output_key
    from mattemill.pipeline.storage.location import Location, open_store

    data = path.read_bytes()
    header = read_header(data)
    location = Location.parse(_SINK)
    matte = open_store(location, JobConfig()).get(location.key(output_key(key, JobConfig().format))).data
    alpha = cv2.imdecode(np.frombuffer(matte, np.uint8), cv2.IMREAD_GRAYSCALE)
    if alpha is None:
        raise DemoError(f"{key}: its matte in the sink cannot be decoded")
    score = f", confidence {confidence:.2f}" if confidence is not None else ""
    return CutTile(key, decode(data, header), np.asarray(alpha, np.uint8), _note(header, data) + score)


def _failed_tile(key: str, path: Path, reason: str, message: str, preview: bytes | None) -> Any:
    import cv2
    import numpy as np

    from mattemill.pipeline.contact_sheet import FailedTile
    from mattemill.pipeline.errors import ImageError
    from mattemill.pipeline.images.header import read_header

    data = path.read_bytes()
    try:
        note = _note(read_header(data), data)
    except ImageError:
        note = say.size(len(data))
    picture = None
    if preview is not None:
        decoded = cv2.imdecode(np.frombuffer(preview, np.uint8), cv2.IMREAD_COLOR_RGB)
        picture = None if decoded is None else np.asarray(decoded, np.uint8)
    return FailedTile(key, reason, message, picture, note)


def _note(header: Any, data: bytes) -> str:
    width, height = header.shown_size
    extra = "".join(
        (
            f" {_MODES.get(header.mode, header.mode)}" if header.mode != "RGB" else "",
            f", EXIF orientation {header.orientation}" if header.orientation != 1 else "",
        )
    )
    return f"{width}x{height}, {header.format.upper()}{extra}, {say.size(len(data))}"


EXPECTED_FAILURES = {
    "gravel.jpg": "no_subject",
    "temple-cut-off.jpg": "truncated",
}
"""Of the samples: one without a subject, one damaged. All others must be cut."""


def check_outcomes(photographs: Mapping[str, Path]) -> None:
    """Every sample ended once, and as it must. Raises DemoError naming those that did not."""
    from mattemill.pipeline.ledger.queries import failures

    report = failures(_SINK, JobConfig(), limit=len(photographs))
    got = {example.key: group.reason for group in report.groups for example in group.examples}
    if report.done != len(photographs):
        raise DemoError(f"{report.done} of {len(photographs)} photographs have an outcome: see `mattemill status`")
    wrong = [
        f"{key}: {got.get(key, 'cut')}, not {EXPECTED_FAILURES.get(key, 'cut')}"
        for key in photographs
        if got.get(key) != EXPECTED_FAILURES.get(key)
    ]
    if wrong:
        raise DemoError(f"these samples ended otherwise than they must: {'; '.join(wrong)}")


def _ending(phases: Phases, sheet: Path, out: Path) -> str:
    rows = [(name, say.seconds(value)) for name, value in phases.seconds.items()]
    rows.append(("in all", say.seconds(sum(phases.seconds.values()))))
    return "\n".join(
        [
            "",
            say.table(rows, right=frozenset({1})),
            "",
            f"look at the contact sheet:     {sheet.resolve()}",
            f"and at the page of failures:   {(out / 'failures' / 'index.html').resolve()}",
        ]
    )


def _mattemill(*arguments: str, quiet: bool = False) -> None:
    """Run a real `mattemill` command as a user would. Raises DemoError when its exit code is not 0."""
    if not quiet:
        print(f"\n$ mattemill {shlex.join(arguments)}", flush=True)
    # In a process group of its own: Ctrl-C then reaches only us, and we hand it on once.
    process = subprocess.Popen(
        [sys.executable, "-m", "mattemill.cluster.cli.main", *arguments],
        stdout=subprocess.DEVNULL if quiet else None,
        process_group=0,
    )
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code != 0:
        raise DemoError(f"`mattemill {shlex.join(arguments)}` ended with exit code {code}; its message is above")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a command drain, as its own first signal would; another Ctrl-C stops it at once."""
    for patience in (_GRACE, 20.0):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
            return
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            continue
    process.kill()
    process.wait()


def _use_server(environment: Mapping[str, str]) -> None:
    """Make this process and the commands that it starts talk to the demo's server, whatever the user's AWS setup."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)


def _keep(environment: Mapping[str, str]) -> None:
    """Say how to use the server from another terminal, and wait for Ctrl-C."""
    print("\nThe S3 server goes on until Ctrl-C. In another terminal:\n")
    for name, value in environment.items():
        print(f"  export {name}={shlex.quote(value)}")
    print(
        f"  mattemill status {_SINK}\n  mattemill failures {_SINK}\n  mattemill run --output cutout {_SOURCE} ./cutouts"
    )
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nstopped")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, so that the server and the job are ended on the way out."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
