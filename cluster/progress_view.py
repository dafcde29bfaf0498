"""Shows a job's progress: a live view on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mattemill.cluster.progress import Progress
from mattemill.pipeline.events.stats import EventStats

JSON_INTERVAL = 5.0
"""Seconds between two JSON lines: a log of a night's run stays small."""


class ProgressView(Protocol):
    """A context manager that is told of progress, often and from one thread at a time."""

    def __call__(self, progress: Progress) -> None: ...

    def __enter__(self) -> ProgressView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoView:
    """Shows nothing."""

    def __call__(self, progress: Progress) -> None:
        return

    def __enter__(self) -> NoView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class JsonLinesView:
    """One JSON object a line, at most one in `interval` seconds, and the last state at the end.

    A change of `note` or `draining` is written at once: these are the moments that a log is read for.
    """

    def __init__(
        self, stream: TextIO, interval: float = JSON_INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._written: Progress | None = None
        self._newest: Progress | None = None
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        self._newest = progress
        last = self._written
        news = last is None or (last.note, last.draining) != (progress.note, progress.draining)
        if news or self._clock() >= self._next:
            self._write(progress)

    def __enter__(self) -> JsonLinesView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._newest is not None and self._newest != self._written:
            self._write(self._newest)

    def _write(self, progress: Progress) -> None:
        self._stream.write(json.dumps({"event": "progress", **progress.to_json()}) + "\n")
        self._stream.flush()
        self._written = progress
        self._next = self._clock() + self._interval


class TerminalView:
    """A bar with counts, rate and time left, and a line for each stage; redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __call__(self, progress: Progress) -> None:
        self._live.update(render(progress))

    def __enter__(self) -> TerminalView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def render(progress: Progress) -> Group:
    """A progress as something that rich can draw."""
    parts: list[Text | Table] = [headline(progress)]
    if progress.total:
        bar = Table.grid(expand=False)
        bar.add_row(ProgressBar(total=progress.total, completed=progress.done, width=60))
        parts.append(bar)
    if progress.events is not None:
        parts.append(queue_line(progress.events))
    if progress.stages:
        parts.append(stage_table(progress))
    return Group(*parts)


def headline(progress: Progress) -> Text:
    """'37 of 120 images, 2 failed  1.9 images/s  44 s left'."""
    from mattemill.cluster.cli import say

    line = Text()
    if progress.note and progress.done == 0:
        line.append(progress.note, style="cyan")
        line.append(f"  {say.seconds(progress.seconds)}", style="dim")
        return line
    of = f" of {progress.total:,}" if progress.total is not None else ""
    line.append(f"{progress.done:,}{of} images", style="bold")
    if progress.failed:
        line.append(f", {progress.failed:,} failed", style="yellow")
    if progress.already_done:
        line.append(f", {progress.already_done:,} done before", style="dim")
    line.append(f"  {say.rate(progress.images_per_second)}")
    if progress.draining:
        line.append("  stopping: finishing what is in flight", style="yellow")
    elif progress.seconds_left is not None and (progress.total is None or progress.done < progress.total):
        line.append(f"  {say.seconds(progress.seconds_left)} left", style="cyan")
    else:
        line.append(f"  {say.seconds(progress.seconds)}", style="dim")
    if progress.note:
        line.append(f"  {progress.note}", style="dim")
    return line


def queue_line(events: EventStats) -> Text:
    """'queue: 12 messages in hand, oldest 4.2 s; event to matte 3.1 s (95 % within 5.0 s)'."""
    from mattemill.cluster.cli import say

    line = Text(f"queue: {say.count(events.held, 'message')} in hand")
    if events.held:
        line.append(f", oldest {say.seconds(events.backlog_age)}")
    if events.latency_p50 is not None and events.latency_p95 is not None:
        line.append(f"; event to matte {say.seconds(events.latency_p50)}")
        line.append(f" (95 % within {say.seconds(events.latency_p95)})")
    if events.given_up:
        line.append(f"; {say.count(events.given_up, 'message')} given up", style="yellow")
    return line


def stage_table(progress: Progress) -> Table:
    """A line a stage: waiting, in work, workers, done, rate."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stage")
    for name in ("waiting", "in work", "workers", "done", "per second"):
        table.add_column(name, justify="right")
    for stage in progress.stages:
        table.add_row(
            stage.name,
            f"{stage.queued:,}",
            f"{stage.running:,}",
            f"{stage.workers:,}",
            f"{stage.done:,}",
            f"{stage.images_per_second:.1f}",
        )
    return table
