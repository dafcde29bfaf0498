"""`mattemill serve --queue URL SINK`: events of S3, cut as they come."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from mattemill.cluster.cli import options, say
from mattemill.cluster.cli.models import fetch_needed
from mattemill.cluster.cli.run import failure_table, speed_text
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.events.settings import EventSettings

if TYPE_CHECKING:
    from mattemill.cluster.serve import ServePlan, ServeSummary


def add_parser(commands: Any) -> None:
    defaults = EventSettings()
    parser = commands.add_parser(
        "serve",
        help="cut photographs as they are uploaded: S3 events from an SQS queue, until it is stopped",
        description="Take S3 ObjectCreated events from a queue (also through SNS or EventBridge) and cut what they "
        "tell of into SINK, until SIGTERM or Ctrl-C. A message is deleted when all that it told of is committed: "
        "killed at any moment, it loses nothing.",
    )
    parser.add_argument("sink", metavar="SINK", help="s3://bucket/prefix or a folder")
    queue = parser.add_argument_group("the queue")
    queue.add_argument("--queue", required=True, metavar="URL", help="of the SQS queue")
    queue.add_argument(
        "--source",
        metavar="s3://BUCKET/PREFIX",
        help="take only events below it; the sink is then that of `run` with this source (all events when not given)",
    )
    queue.add_argument(
        "--max-age",
        type=float,
        default=defaults.max_age,
        metavar="SECONDS",
        help=f"that an event waits at most for its shard to fill ({defaults.max_age:g})",
    )
    queue.add_argument(
        "--max-receives",
        type=int,
        default=defaults.max_receives,
        metavar="N",
        help=f"of one message, after which it ends as a failure ({defaults.max_receives})",
    )
    queue.add_argument(
        "--poll",
        type=float,
        default=defaults.poll,
        metavar="SECONDS",
        help=f"of one long poll of an empty queue, at most 20 ({defaults.poll:g})",
    )
    what = parser.add_argument_group("what is done")
    what.add_argument("--dry-run", action="store_true", help="receive nothing: say queue, sink and settings")
    what.add_argument("--once", action="store_true", help="end when the queue is empty, as --idle-exit 0")
    what.add_argument("--idle-exit", type=float, metavar="SECONDS", help="end when no event came for so long")
    options.add_cutting(parser)
    options.add_running(parser)
    options.add_store(parser)
    options.add_config(parser)
    options.add_common(parser, json_help="summary as one JSON object on stdout, progress as JSON lines on stderr")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan or serve; 0 also after a stop, which is how a service ends."""
    config = options.config_of(args)
    settings = settings_of(args)
    # Ray is imported here and not above: the other commands start a second faster.
    from mattemill.cluster import serve

    if args.dry_run:
        plan = serve.plan_serve(args.queue, args.sink, config, settings, source=args.source)
        print(json.dumps(plan.to_json()) if args.json else plan_text(plan))
        return 0
    fetch_needed(config.model, config.second_network)
    summary = _serve(args, config, settings)
    print(json.dumps(summary.to_json()) if args.json else summary_text(summary))
    return 0


def settings_of(args: argparse.Namespace) -> EventSettings:
    """Raises UsageError for --once together with --idle-exit, ConfigError for values out of range."""
    if args.once and args.idle_exit is not None:
        raise UsageError("--once is --idle-exit 0: give one of them")
    idle_exit = 0.0 if args.once else args.idle_exit
    return EventSettings(args.max_age, args.max_receives, args.poll, idle_exit)


def _serve(args: argparse.Namespace, config: JobConfig, settings: EventSettings) -> ServeSummary:
    from rich.console import Console

    from mattemill.cluster import serve
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
        return serve.serve(
            args.queue,
            args.sink,
            config,
            settings,
            source=args.source,
            on_progress=show,
            stop=stop.event,
        )


def plan_text(plan: ServePlan) -> str:
    """A dry run for a person."""
    facts, settings = plan.facts, plan.settings
    after = "none" if facts.dead_letter_after is None else f"after {facts.dead_letter_after} receives"
    ends = "when it is stopped"
    if settings.idle_exit is not None:
        ends += f", or when the queue was empty for {say.seconds(settings.idle_exit)}"
    rows = [
        ("queue", say.printable(plan.queue)),
        ("now in it", f"{say.count(facts.waiting, 'message')} waiting, {facts.in_flight:,} in the hands of others"),
        ("hidden for", f"{facts.visibility:g} s, renewed at half of it while a message is worked on"),
        ("dead letters", after),
        ("given up", f"a message after {settings.max_receives} receives, as a failure row"),
        ("source", "every bucket" if plan.source == "s3://" else say.printable(plan.source)),
        ("sink", say.printable(plan.sink)),
        ("shards", f"of up to {say.count(plan.shard_size, 'image')}, closed after {settings.max_age:g} s"),
        ("device", plan.device),
        ("fingerprint", plan.fingerprint or "unknown until the networks are fetched"),
        ("ends", ends),
    ]
    lines = ["dry run: nothing is received, nothing is written", say.table(rows)]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def summary_text(summary: ServeSummary) -> str:
    """The end of a service for a person."""
    job, events = summary.job, summary.events
    lines = [
        f"{say.count(job.images, 'image')} in {say.seconds(job.seconds)}: {job.cut:,} cut, {job.failures:,} failed"
    ]
    if job.failed:
        lines.append(failure_table(job.failed))
    lines.append(
        f"{say.count(events.received, 'message')} received, {events.deleted:,} deleted, "
        f"{events.released:,} given back, {events.given_up:,} given up"
    )
    nothing = [
        f"{number:,} {what}"
        for number, what in (
            (events.done_before, "of content that was done"),
            (events.outdated, "of content that was replaced"),
            (events.gone, "of objects that are gone"),
        )
        if number
    ]
    nothing += [f"{number:,} {kind}" for kind, number in sorted({**events.ignored, **job.skipped}.items())]
    if nothing:
        lines.append("events without work: " + ", ".join(nothing))
    if events.latency_p50 is not None and events.latency_p95 is not None:
        lines.append(
            f"event to committed matte, the last five minutes: {say.seconds(events.latency_p50)} in the middle, "
            f"{say.seconds(events.latency_p95)} for 95 %"
        )
    if job.images:
        lines.append(speed_text(job))
    lines.append(f"mattes in {say.printable(job.sink)}, job {job.fingerprint}")
    return "\n".join(lines)
