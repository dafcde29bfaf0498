"""Bounds in a TOML file: kept, broken, not measured, and nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.gate import Bound, breaches, read_gate
from mattemill.pipeline.evaluation.summary import Summary

SUMMARIES = (
    Summary("one", {"hair": {"iou": 0.9, "sad": 5.0}, "all": {"iou": 0.8}}, None),
    Summary("two", {"hair": {"iou": 0.7, "sad": 9.0}, "all": {"iou": 0.9}}, None),
)


def test_a_gate_is_read(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(
        '[[bound]]\nfigure = "iou"\nmin = 0.83\n[[bound]]\nset = "hair"\nrecipe = "one"\nfigure = "sad"\nmax = 6\n'
    )
    assert read_gate(file) == (Bound("iou", min=0.83), Bound("sad", "hair", "one", max=6))


def test_a_bound_without_a_recipe_is_for_every_recipe() -> None:
    said = [str(each) for each in breaches([Bound("iou", "hair", min=0.95)], SUMMARIES)]
    assert said == [
        "hair: iou of one is 0.9, must be at least 0.95",
        "hair: iou of two is 0.7, must be at least 0.95",
    ]


def test_a_bound_that_is_just_reached_is_kept() -> None:
    assert breaches([Bound("iou", "hair", "one", min=0.9), Bound("sad", "hair", "one", max=5.0)], SUMMARIES) == ()


def test_a_breach_says_the_figure_both_bounds_and_why() -> None:
    (breach,) = breaches([Bound("sad", "hair", "two", min=1, max=6, why="closed-form has 5.33")], SUMMARIES)
    assert str(breach) == "hair: sad of two is 9, must be at least 1 and at most 6 (closed-form has 5.33)"


@pytest.mark.parametrize(
    "bound", [Bound("iou", "fur", "one", min=0.1), Bound("grad", max=1e9), Bound("iou", recipe="three", min=0.1)]
)
def test_what_was_not_measured_does_not_pass(bound: Bound) -> None:
    found = breaches([bound], SUMMARIES)
    assert found
    assert all("was not measured" in str(each) for each in found)


def test_a_figure_that_is_not_a_number_does_not_pass() -> None:
    summary = Summary("one", {"all": {"iou": float("nan")}}, None)
    assert len(breaches([Bound("iou", min=0.1)], [summary])) == 1
    assert len(breaches([Bound("iou", max=0.1)], [summary])) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ('[[bounds]]\nfigure = "iou"\nmin = 1\n', "and nothing else"),
        ('[[bound]]\nfigure = "iou"\n', "bound 1: has neither min nor max"),
        ("[[bound]]\nmin = 1\n", "bound 1: says no figure"),
        ('[[bound]]\nfigure = "iou"\nmin = "1"\n', "bound 1: min = '1' must be a number"),
        ('[[bound]]\nfigure = "iou"\nleast = 1\n', "bound 1: unknown entry 'least'"),
        ("figure = \n", "cannot be read as TOML"),
    ],
)
def test_a_gate_that_makes_no_sense_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"gate .*gate\.toml: .*{message}"):
        read_gate(file)
