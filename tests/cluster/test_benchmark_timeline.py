"""The rates that the benchmarks report follow from the moments at which images were finished."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from photographs import HEIGHT, WIDTH, photographs
from timeline import Timeline, of_counts, of_files


def test_the_steady_rate_leaves_start_up_and_end_out():
    finished = tuple(100.0 + i * 0.5 for i in range(101))
    timeline = Timeline(began=0.0, ended=400.0, finished=finished)
    assert timeline.steady_rate() == pytest.approx(2.0)
    assert timeline.whole_rate == pytest.approx(101 / 400)
    assert timeline.first == 100.0


def test_a_progress_callback_that_reports_several_at_once_counts_each():
    timeline = of_counts(0.0, 9.0, [(1.0, 0), (2.0, 2), (4.0, 2), (5.0, 5)])
    assert timeline.finished == (2.0, 2.0, 5.0, 5.0, 5.0)


def test_outputs_are_timed_by_their_files_and_the_ledger_is_none_of_them(tmp_path):
    for name, moment in (("b.png", 20.0), ("a.png", 10.0), ("_mattemill/x.png", 5.0), ("note.txt", 1.0)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (moment, moment))
    assert of_files(0.0, 30.0, tmp_path).finished == (10.0, 20.0)


def test_the_photographs_are_all_different_and_the_same_every_time():
    once, again = photographs(13), photographs(13)
    assert once == again
    assert len({data for _, data in once}) == 13
    assert (WIDTH * HEIGHT, {name[-4:] for name, _ in once}) == (2_000_000, {".jpg"})
