"""Progress as JSON lines and as a live view."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from mattemill.cluster.progress import Progress, StageState
from mattemill.cluster.progress_view import JsonLinesView, TerminalView, render

SOME = Progress(
    done=37,
    failed=2,
    total=120,
    images_per_second=1.94,
    seconds=19.0,
    seconds_left=42.8,
    stages=(StageState("fetch", 3, 2, 1, 60, 3.1), StageState("detect", 1_234, 8, 2, 37, 1.9)),
)


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(progress: Progress) -> str:
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(render(progress))
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_lines_are_written_once_in_an_interval_and_the_last_state_always() -> None:
    stream, clock = io.StringIO(), FakeClock()
    with JsonLinesView(stream, interval=5.0, clock=clock) as view:
        for done in range(12):  # a call a second: lines at 0, 5 and 10 s
            view(replace(SOME, done=done))
            clock.now += 1.0
    assert [json.loads(line)["done"] for line in stream.getvalue().splitlines()] == [0, 5, 10, 11]


def test_the_last_state_is_not_written_twice() -> None:
    stream = io.StringIO()
    with JsonLinesView(stream, clock=FakeClock()) as view:
        view(SOME)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_change_of_what_the_job_does_is_written_at_once() -> None:
    stream = io.StringIO()
    with JsonLinesView(stream, clock=FakeClock()) as view:
        view(replace(SOME, note="starting Ray"))
        view(replace(SOME, note="calibrating"))
        view(replace(SOME, note="calibrating"))
        view(replace(SOME, draining=True))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["note"], line["draining"]) for line in lines] == [
        ("starting Ray", False),
        ("calibrating", False),
        ("", True),
    ]


def test_a_line_holds_everything_that_the_job_told() -> None:
    stream = io.StringIO()
    JsonLinesView(stream, clock=FakeClock())(SOME)
    line = json.loads(stream.getvalue())
    assert line["event"] == "progress"
    assert (line["total"], line["failed"], line["seconds_left"]) == (120, 2, 42.8)
    assert line["stages"][1]["queued"] == 1234


def test_the_live_view_shows_counts_rate_time_left_and_each_stage() -> None:
    text = shown(SOME)
    assert "37 of 120 images, 2 failed" in text
    assert "1.9 images/s" in text
    assert "43 s left" in text
    detect = next(line for line in text.splitlines() if line.startswith("detect"))
    assert detect.split() == ["detect", "1,234", "8", "2", "37", "1.9"]


def test_before_the_first_image_the_view_says_what_the_job_does() -> None:
    assert "starting Ray" in shown(replace(SOME, done=0, note="starting Ray"))


def test_a_total_that_is_not_known_yet_is_not_shown() -> None:
    text = shown(replace(SOME, total=None, seconds_left=None))
    assert "37 images" in text
    assert "left" not in text


def test_draining_is_shown_in_place_of_the_time_left() -> None:
    text = shown(replace(SOME, draining=True))
    assert "stopping" in text
    assert "left" not in text


def test_the_view_on_a_terminal_draws_and_ends() -> None:
    console = Console(width=100, file=io.StringIO(), force_terminal=True)
    with TerminalView(console) as view:
        view(SOME)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    assert "37 of 120" in stream.getvalue()
