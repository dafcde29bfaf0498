"""`mattemill status SINK`: what is done, open and failed, a block for each fingerprint."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mattemill.cluster.cli import options, say
from mattemill.pipeline.ledger.queries import JobStatus, Running, status


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="what is done, open and failed in a sink",
        description="The jobs of a sink, one for each fingerprint (networks and settings that change pixels).",
    )
    parser.add_argument("sink", metavar="SINK", help="s3://bucket/prefix or a folder")
    options.add_store(parser)
    options.add_config(parser)
    options.add_common(parser, json_help="as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the state of every job of the sink."""
    found = status(args.sink, options.config_of(args))
    if args.json:
        print(json.dumps(asdict(found), default=_plain))
        return 0
    if not found.jobs:
        print(f"{found.sink}: no job has run here yet")
        return 0
    print(f"{found.sink}: mattes of {found.source}")
    for job in found.jobs:
        print()
        print(job_text(job))
    return 0


def job_text(job: JobStatus) -> str:
    """One job as a block of lines."""
    open_images = "unknown: no run has listed the whole source yet" if job.open is None else f"{job.open:,}"
    failed = sum(job.failed.values())
    by_reason = ", ".join(f"{reason} {number:,}" for reason, number in job.failed.items())
    rows = [
        ("done", f"{job.done:,}: {job.mattes:,} cut, {failed:,} failed{f' ({by_reason})' if by_reason else ''}"),
        ("open", open_images),
    ]
    if job.first_commit and job.last_commit:
        rows.append(("committed", f"{_moment(job.first_commit)} to {_moment(job.last_commit)}"))
    files = f"{say.count(job.shard_files, 'shard')}, {say.count(job.packed_files, 'packed file')}"
    rows.append(("files", f"{files}, {say.size(job.bytes)}"))
    if job.running is not None:
        rows.append(("run", running_text(job.running)))
    if job.record is not None:
        settings = job.record.settings
        shown = ("output", "format", "subjects", "background", "model", "detector", "refine")
        rows.append(("settings", ", ".join(f"{k} {settings[k]}" for k in shown if settings.get(k) is not None)))
    return f"job {job.fingerprint}\n{say.table(rows)}"


def running_text(running: Running) -> str:
    """What is known of a run whose lease was not given back."""
    who = running.holder
    if running.alive:
        return f"going on: process {who.pid} on {who.host} since {who.since}"
    if running.alive is None:
        return f"on {who.host}, last heard of {_moment(running.last_beat)}"
    return f"was killed (process {who.pid} on {who.host}): the same command finishes the job"


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
