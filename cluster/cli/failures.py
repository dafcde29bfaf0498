"""`mattemill failures SINK`: what failed and why, with examples; and a page of previews to look at."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from mattemill.cluster.cli import options, say
from mattemill.pipeline.ledger.queries import FailureReport, failures
from mattemill.pipeline.reasons import Reason

_MOST_PREVIEWS = 2000


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "failures",
        help="the photographs that failed, by reason, with examples",
        description="What failed and was not put right since, by reason. The log itself is Parquet: see the README.",
    )
    parser.add_argument("sink", metavar="SINK", help="s3://bucket/prefix or a folder")
    parser.add_argument("--reason", choices=[reason.value for reason in Reason], metavar="REASON", help="only this one")
    parser.add_argument("--examples", type=int, metavar="N", help="examples of each reason (3)")
    parser.add_argument("--fingerprint", metavar="HEX", help="of the job; the one that ran last when not given")
    parser.add_argument(
        "--previews", type=Path, metavar="DIR", help="write the preview pictures and a page (index.html) there"
    )
    options.add_store(parser)
    options.add_config(parser)
    options.add_common(parser, json_help="as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; write the previews when asked."""
    config = options.config_of(args)
    reason = Reason(args.reason) if args.reason else None
    few = max(0, 3 if args.examples is None else args.examples)
    many = few if args.previews is None else max(few, _MOST_PREVIEWS if args.examples is None else few)
    report = failures(args.sink, config, reason, many, fingerprint=args.fingerprint)
    if args.json:
        print(json.dumps(asdict(report), default=_plain))
    else:
        print(report_text(report, few))
    if args.previews is not None and report.groups:
        # Imported here: reads image bytes from the log, which no other command needs.
        from mattemill.cluster.cli.failures_page import write_page

        page, pictures = write_page(args.previews, report, args.sink, config)
        if not args.json:
            print(f"{say.count(pictures, 'preview')} in {page}")
    return 0


def report_text(report: FailureReport, examples: int) -> str:
    """The report for a person."""
    if report.fingerprint is None:
        return f"{report.sink}: no job has run here yet"
    if not report.groups:
        return f"job {report.fingerprint}: none of {say.count(report.done, 'image')} failed"
    lines = [f"job {report.fingerprint}: {report.failed:,} of {say.count(report.done, 'image')} failed"]
    for group in report.groups:
        lines += ["", f"{group.count:,}  {group.reason}: {group.sentence}"]
        for example in group.examples[:examples]:
            dimensions = f" ({example.width}x{example.height})" if example.width and example.height else ""
            lines.append(
                f"    {say.printable(example.key)}{dimensions}, in {example.stage}: {say.printable(example.message)}"
            )
        if group.count > examples > 0:
            lines.append(f"    and {group.count - examples:,} more")
    lines += ["", f"the log: {report.log} (Parquet, partitioned by date and reason)"]
    return "\n".join(lines)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
