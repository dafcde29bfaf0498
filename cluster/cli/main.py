"""`mattemill`: reads the command line, runs a command, turns errors into one line and an exit code.

Exit codes: 0 = done (for a job: every image has its outcome, failures included), 1 = could not finish,
2 = wrong use. 130 after a second Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from mattemill.cluster.cli import (
    cut,
    demo,
    doctor,
    engines,
    evaluate,
    failures,
    models,
    plan,
    prune,
    quantize,
    run,
    serve,
    status,
    train,
)
from mattemill.cluster.cli.say import set_up_logging
from mattemill.pipeline.errors import MattemillError, UsageError

_COMMANDS = (run, serve, plan, cut, failures, status, models, engines, evaluate, quantize, prune, train, demo, doctor)
_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors look like all others: one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mattemill: error: {message} (see `{self.prog} --help`)\n")


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="mattemill",
        description="Alpha mattes for catalogue photographs at volume: S3 in, mattes out, nothing lost.",
    )
    parser.add_argument("--version", action="version", version=f"mattemill {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def version() -> str:
    """Of the installed package."""
    try:
        return metadata.version("mattemill")
    except metadata.PackageNotFoundError:
        return "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Raises SystemExit for --help, --version and wrong use."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(run.with_explicit_retry(arguments))
    set_up_logging(args.verbose)
    try:
        return int(args.run(args))
    except MattemillError as error:
        if args.debug:
            raise
        return _say(str(error), 2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left (`| head`): not an error. The interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.debug:
            raise
        logging.getLogger(__name__).debug("unexpected error", exc_info=True)
        return _say(f"{type(error).__name__}: {error} (a bug, or a broken installation: --debug shows where)", 1)


def _say(message: str, code: int) -> int:
    one_line = " ".join(message.split())
    sys.stderr.write(f"mattemill: error: {one_line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
