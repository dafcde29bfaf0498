"""`mattemill evaluate DATASET`: how good the mattes are on photographs with ground truth."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mattemill.cluster.cli import options
from mattemill.cluster.cli.models import fetch_needed
from mattemill.cluster.machine import usable_cores
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.recipes import find_recipe

if TYPE_CHECKING:
    from mattemill.pipeline.evaluation.evaluation import Evaluation, OnDone
    from mattemill.pipeline.evaluation.gate import Bound, Breach

_PICTURES = 12
_ROOM_FOR_ALL = 200  # columns of the terminal; with fewer, only the figures that matter most
_TELL_EVERY = 0.1  # of the photographs of a recipe, where stderr is no terminal


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="how good the mattes are on photographs with ground truth",
        description="Cut every photograph of DATASET by one recipe or several, and compare the mattes with the truth. "
        "DATASET is a folder with image/ and any of alpha/, mask/ (128 = does not count), mask_main/, trimap/, "
        "trimap2/ and instances.json, or a folder of such folders. Sets that only have mask_main/ are reported apart: "
        "they are not in the mean over all unless --sets names them. A photograph without a matte counts as an empty "
        "one; low confidence hides no result.",
    )
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", help="a set of photographs with truth, or a folder of sets"
    )
    what = parser.add_argument_group("what is compared")
    what.add_argument(
        "--recipe", action="append", metavar="NAME|FILE", help="default, fast, best or a TOML file; may be given again"
    )
    what.add_argument(
        "--refine",
        metavar="LIST",
        help="compare ways of refining, e.g. guided,none,closed_form (closed-form matting: needs the extra [evaluate])",
    )
    what.add_argument(
        "--trimap",
        choices=("auto", "supplied", "supplied2"),
        default="auto",
        help="matte in the pipeline's own trimap (auto), or in the set's trimap/ (trimap2/) where it has one",
    )
    what.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="NAME=VALUE", help="over all recipes"
    )
    what.add_argument("--device", choices=("auto", "cpu", "cuda"), help="a named device is had or is an error (auto)")
    what.add_argument("--sets", metavar="LIST", help="only these sets, by the names of their folders")
    what.add_argument("--limit", type=_positive, metavar="N", help="at most N photographs a set, the first by name")
    what.add_argument("--jobs", type=_positive, metavar="N", help="processes, one thread each (the cores)")
    out = parser.add_argument_group("what comes out")
    out.add_argument("--report", type=Path, metavar="FILE.html", help="tables, charts and pictures in one file")
    out.add_argument("--save", type=Path, metavar="FILE.json", help="all figures, with a row a photograph")
    out.add_argument(
        "--gate", type=Path, metavar="FILE.toml", help="bounds; exit code 1 when a figure does not keep one"
    )
    out.add_argument("--quiet", action="store_true", help="no progress")
    options.add_common(parser, json_help="figures as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and tell; 1 when a bound of the gate is not kept."""
    for path in (args.report, args.save):
        _check_writable(path)
    # onnxruntime and OpenCV are loaded here: wrong use is told without waiting for them.
    from mattemill.pipeline.evaluation.contest import contestants
    from mattemill.pipeline.evaluation.datasets import open_sets
    from mattemill.pipeline.evaluation.evaluation import evaluate
    from mattemill.pipeline.evaluation.gate import breaches, read_gate

    wanted = _names(args.sets, "--sets") or None
    sets = open_sets(args.dataset, wanted, args.limit)
    bounds: tuple[Bound, ...] = read_gate(args.gate) if args.gate is not None else ()
    over = _overrides(args)
    recipes = [find_recipe(given) for given in args.recipe or ()]
    parts = contestants(recipes, _names(args.refine, "--refine"), over, args.trimap)
    for contestant in parts:
        fetch_needed(contestant.config.model, contestant.config.second_network)
    jobs = usable_cores(args.jobs or 0)
    start = {"commit": _commit(), "load_before": round(os.getloadavg()[0], 2)}
    with _progress(args, len(parts)) as on_done:
        found = evaluate(sets, parts, jobs=jobs, asked=wanted, panels=args.report is not None, on_done=on_done)
    if args.save is not None or args.json:
        content = {**_provenance(args, jobs), **start, **found.to_json()}
        if args.save is not None:
            _write(args.save, json.dumps({**content, "photographs": found.photographs_json()}, indent=1) + "\n")
        if args.json:
            print(json.dumps(content))
    if args.report is not None:
        _write_report(args, found)
    if not args.json:
        _print_tables(found)
    failed = breaches(bounds, found.summaries)
    _tell_gate(bounds, failed, json_on_stdout=args.json)
    return 1 if failed else 0


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    over: dict[str, Any] = {} if args.device is None else {"device": args.device}
    for text in args.settings:
        name, value = options.parse_setting(text)
        if name in over:
            raise UsageError(f"{name} is set twice on the command line")
        over[name] = value
    return over


def _write_report(args: argparse.Namespace, found: Evaluation) -> None:
    from mattemill.pipeline.evaluation.report import report_html

    details = (_command(args), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    title = f"Evaluation on {args.dataset.resolve().name}"
    _write(args.report, report_html(found, title=title, details=details, pictures=_PICTURES))


def _print_tables(found: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    from mattemill.pipeline.evaluation.columns import columns_of, repairs_of
    from mattemill.pipeline.evaluation.summary import ALL, RIGHT_MASK

    console = Console(width=None if sys.stdout.isatty() else 240)
    columns = columns_of(figures for each in found.summaries for figures in each.groups.values())
    if console.width < _ROOM_FOR_ALL:
        columns = tuple(column for column in columns if column.brief)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("set")
    table.add_column("recipe")
    for column in columns:
        table.add_column(column.title, justify="right")
    sets = [each.name for each in found.sets]
    for group in [*(n for n in sets if n in found.counted), ALL, *(n for n in sets if n not in found.counted)]:
        for i, summary in enumerate(found.summaries):
            figures = summary.groups.get(group)
            if figures is not None:
                cells = (column.text(figures) for column in columns)
                table.add_row(group if i == 0 else "", summary.recipe, *cells, style="bold" if group == ALL else None)
    console.print(table)
    apart = [name for name in sets if name not in found.counted]
    if apart:
        console.print(f"not in all: {', '.join(apart)} (its truth is the main instance; --sets {apart[0]} counts it)")
    for summary in found.summaries:
        for group, figures in summary.groups.items():
            for repair in repairs_of(figures):
                over = "over" if repair.kind == "right" else "up to"
                console.print(
                    f"{summary.recipe}, {group}, masks with an IoU {over} {RIGHT_MASK:g}: SAD {repair.mask_sad:.2f} -> "
                    f"{repair.sad:.2f} ({repair.change:+.1%}, n = {repair.n})",
                    highlight=False,
                )
    for summary in found.summaries:
        trust = summary.trust
        if trust is not None and trust.auc is not None:
            console.print(
                f"{summary.recipe}: confidence has AUC {trust.auc:.3f} and calibration error {trust.ece:.3f}; "
                f"{trust.bad} of {trust.n} have an IoU under .85; "
                f"{int(summary.groups.get(ALL, {}).get('refused', 0))} would be refused"
            )
    for each in found.comparisons:
        if each.group == ALL:
            d = each.difference
            between = f" ({d.low:+.4g} .. {d.high:+.4g})" if d.low is not None and d.high is not None else ""
            mark = "" if d.sure else ", may be luck"
            console.print(f"{each.b} less {each.a}, {each.figure}: {d.mean:+.4g}{between}{mark}", highlight=False)


def _tell_gate(bounds: Sequence[Bound], failed: Sequence[Breach], *, json_on_stdout: bool) -> None:
    if not bounds:
        return
    out = sys.stderr if json_on_stdout or failed else sys.stdout
    for breach in failed:
        print(f"gate: {breach}", file=out)
    kept = "all" if not failed else f"{len(bounds) - len({id(b.bound) for b in failed})} of {len(bounds)}"
    print(f"gate: {kept} bounds kept", file=out)


@contextmanager
def _progress(args: argparse.Namespace, recipes: int) -> Iterator[OnDone | None]:
    if args.quiet:
        yield None
        return
    if not sys.stderr.isatty():
        told: dict[str, float] = {}

        def tell(recipe: str, done: int, of: int) -> None:
            if of and (done == of or done / of >= told.get(recipe, 0.0) + _TELL_EVERY):
                told[recipe] = done / of
                sys.stderr.write(f"{recipe}: {done} of {of}\n")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        known: dict[str, Any] = {}

        def show(recipe: str, done: int, of: int) -> None:
            if recipe not in known:
                known[recipe] = bars.add_task(f"{recipe} ({len(known) + 1} of {recipes})", total=of)
            bars.update(known[recipe], completed=done)

        yield show


def _provenance(args: argparse.Namespace, jobs: int) -> dict[str, Any]:
    """What was run. The load is the machine's: what others took is in every time."""
    return {
        "command": _command(args),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "dataset": args.dataset.resolve().name,
        "limit": args.limit,
        "jobs": jobs,
        "load_after": round(os.getloadavg()[0], 2),
    }


def _command(args: argparse.Namespace) -> str:
    """The command without the folders of whoever ran it."""
    words = ["mattemill", "evaluate", _plain(str(args.dataset))]
    for name in ("recipe", "refine", "trimap", "settings", "device", "sets", "limit", "save", "gate"):
        value = getattr(args, name)
        flag = "--set" if name == "settings" else f"--{name}"
        if value is None or value == [] or (name == "trimap" and value == "auto"):
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [flag, _plain(str(each))]
    return shlex.join(words)


def _plain(word: str) -> str:
    return Path(word).name if word.startswith("/") else word


def _commit() -> str | None:
    """Of the checkout that this code lies in; None outside of one."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def _check_writable(path: Path | None) -> None:
    """Say so before an hour's work, not after it."""
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path}: {'is a folder' if path.is_dir() else f'there is no folder {path.parent}'}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path}: cannot be written")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error


def _names(text: str | None, flag: str) -> list[str]:
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"{flag} {text}: names with commas between them")
    return names


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return value
