"""`mattemill run SOURCE SINK`: the job."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from mattemill.cluster.cli import options, say
from mattemill.cluster.cli.models import fetch_needed
from mattemill.cluster.progress import JobPlan, JobSummary
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.reasons import SENTENCES, Reason

_ALL = "all"
_SENTENCE_OF = {reason.value: sentence for reason, sentence in SENTENCES.items()}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="cut all photographs of a source into a sink; run again, it goes on where it stopped",
        description="Cut every photograph of SOURCE that has no outcome yet. Killed at any moment, the same command "
        "finishes the job; run twice, it does nothing the second time.",
    )
    parser.add_argument("source", metavar="SOURCE", help="s3://bucket/prefix, a folder, or a .parquet/.csv/.jsonl")
    parser.add_argument("sink", metavar="SINK", help="s3://bucket/prefix or a folder")
    what = parser.add_argument_group("what is done")
    what.add_argument("--dry-run", action="store_true", help="only list, and say what would be done")
    what.add_argument("--limit", type=_positive, metavar="N", help="at most N images in this run")
    what.add_argument(
        "--retry-failed",
        nargs="?",
        const=_ALL,
        choices=(_ALL, *(reason.value for reason in Reason)),
        metavar="REASON",
        help="only images that failed before, all or those of one reason",
    )
    options.add_cutting(parser)
    options.add_running(parser)
    options.add_store(parser)
    options.add_config(parser)
    options.add_common(parser, json_help="summary as one JSON object on stdout, progress as JSON lines on stderr")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def with_explicit_retry(arguments: Sequence[str]) -> list[str]:
    """The arguments with a bare `--retry-failed` before a location made explicit, which argparse cannot tell."""
    out = list(arguments)
    for i, argument in enumerate(out[:-1]):
        following = out[i + 1]
        looks_like_location = "/" in following or "." in following
        if argument == "--retry-failed" and looks_like_location:
            out[i] = f"--retry-failed={_ALL}"
    return out


def run(args: argparse.Namespace) -> int:
    """Plan or run the job; 0 when every image of the source has its outcome."""
    config = options.config_of(args)
    retry = _selection(args.retry_failed)
    # Ray is imported here and not above: the other commands start a second faster.
    from mattemill.cluster import job

    if args.dry_run:
        plan = job.plan_job(args.source, args.sink, config, limit=args.limit, retry_failed=retry)
        print(json.dumps(plan.to_json()) if args.json else plan_text(plan))
        return 0

    fetch_needed(config.model, config.second_network)
    summary = _run_job(args, config, retry)
    if args.json:
        print(json.dumps(summary.to_json()))
    else:
        print(summary_text(summary))
    return 0 if summary.finished else 1


def _run_job(args: argparse.Namespace, config: JobConfig, retry: Any) -> JobSummary:
    from rich.console import Console

    from mattemill.cluster import job
    from mattemill.cluster.cli.signals import StopOnSignal
    from mattemill.cluster.progress_view import JsonLinesView, NoView, ProgressView, TerminalView

    view: ProgressView
    if args.quiet:
        view = NoView()
    elif args.json or not sys.stderr.isatty():
        view = JsonLinesView(sys.stderr)
    else:
        view = TerminalView(Console(stderr=True))
    with StopOnSignal() as stop, view as show:
        return job.run_job(
            args.source,
            args.sink,
            config,
            limit=args.limit,
            retry_failed=retry,
            on_progress=show,
            stop=stop.event,
        )


def _selection(asked: str | None) -> Any:
    """The ledger's RetrySelection, or None when nothing is to be retried."""
    if asked is None:
        return None
    from mattemill.pipeline.ledger.resume import RetrySelection

    return RetrySelection(None if asked == _ALL else Reason(asked))


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: must be at least 1")
    return value


def summary_text(summary: JobSummary) -> str:
    """The end of a job for a person."""
    lines = []
    if summary.images == 0 and not summary.drained:
        lines.append(f"nothing to do: {say.count(summary.already_done, 'image')} done before")
    else:
        lines.append(
            f"{say.count(summary.images, 'image')} in {say.seconds(summary.seconds)}: "
            f"{summary.cut:,} cut, {summary.failures:,} failed"
            + (f", {summary.already_done:,} done before" if summary.already_done else "")
        )
    if summary.failed:
        lines.append(failure_table(summary.failed))
    if summary.skipped:
        skipped = ", ".join(f"{n:,} {kind}" for kind, n in sorted(summary.skipped.items()))
        lines.append(f"skipped, no photographs: {skipped}")
    if summary.images:
        lines.append(speed_text(summary))
    if summary.retries:
        lines.append(f"{say.count(summary.retries, 'call')} made again")
    if summary.worker_deaths:
        lines.append(f"{say.count(summary.worker_deaths, 'worker')} died and got a successor")
    if summary.spilled_bytes > 0:  # -1: could not be told
        lines.append(f"{say.size(summary.spilled_bytes)} spilled to disk: lower --set in_flight_bytes")
    if summary.drained:
        left = f"{say.count(summary.remaining, 'image')} still due" if summary.remaining else "images are still due"
        lines.append(f"stopped before the end: {left}; the same command goes on")
    lines.append(f"mattes in {say.printable(summary.sink)}, job {summary.fingerprint}")
    if summary.failures:
        lines.append(f"more on what failed: mattemill failures {say.printable(summary.sink)}")
    return "\n".join(lines)


def speed_text(summary: JobSummary) -> str:
    """How fast, from the start and after it, and where."""
    parts = [f"{say.rate(summary.images_per_second)} in all"]
    first = summary.first_matte_seconds
    if first is not None:
        parts.append(f"first matte after {say.seconds(first)}")
        if summary.cut > 1 and summary.seconds > first:
            parts.append(f"then {say.rate((summary.cut - 1) / (summary.seconds - first), 'mattes')}")
    where = ", ".join(
        f"{stage} {summary.workers.get(stage, 1)}x {device}" for stage, device in sorted(summary.devices.items())
    )
    return ", ".join(parts) + (f"; {summary.placement}: {where}" if where else "")


def failure_table(failed: Any) -> str:
    """Counts by reason with what each means, most frequent first."""
    rows = [
        (f"{number:,}", str(reason), _SENTENCE_OF.get(str(reason), ""))
        for reason, number in sorted(failed.items(), key=lambda item: (-item[1], item[0]))
    ]
    return say.table(rows, right=frozenset({0}))


def plan_text(plan: JobPlan) -> str:
    """A dry run for a person."""
    again = f", {plan.changed:,} of them changed since they were done" if plan.changed else ""
    if plan.overwritten:
        again += f", {plan.overwritten:,} written over by a job of other settings"
    failed = f", {plan.failed_before:,} of them failed (--retry-failed does these)" if plan.failed_before else ""
    rows = [
        ("source", say.printable(plan.source)),
        ("sink", say.printable(plan.sink)),
        ("listed", f"{say.count(plan.listed, 'image')}, {say.size(plan.listed_bytes)}"),
        ("due", f"{say.count(plan.due, 'image')}, {say.size(plan.due_bytes)}{again}"),
        ("done before", f"{say.count(plan.already_done, 'image')}{failed}"),
    ]
    if plan.skipped:
        rows.append(("skipped", ", ".join(f"{n:,} {kind}" for kind, n in sorted(plan.skipped.items()))))
    rows.append(("shards", f"{plan.shards:,} of up to {say.count(plan.shard_size, 'image')}"))
    models = ", ".join(f"{need.role}: {need.name}{'' if need.fetched else ' (not fetched)'}" for need in plan.models)
    rows.append(("networks", models or "none"))
    rows.append(("device", f"{plan.device}, placement {plan.placement}"))
    rows.append(("fingerprint", plan.fingerprint or "unknown until the networks are fetched"))
    lines = ["dry run: nothing is read but the listing, nothing is written", say.table(rows)]
    if plan.examples:
        examples = [(say.printable(key), "->", say.printable(output)) for key, output in plan.examples]
        lines += ["for example", say.table(examples)]
    return "\n".join(lines)
