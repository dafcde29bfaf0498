"""`mattemill plan` as a user sees it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mattemill.cluster.cli.plan import duration, image_count, node_kind
from mattemill.cluster.planning.rates import packaged_rates, read_rates, to_toml

Here = Callable[..., int]


@pytest.mark.parametrize(
    ("text", "images"), [("5e6", 5_000_000), ("5_000_000", 5_000_000), ("5M", 5_000_000), ("1.5k", 1500), ("7", 7)]
)
def test_images_are_read_as_people_write_them(text: str, images: int):
    assert image_count(text) == images


@pytest.mark.parametrize("text", ["", "M", "5x", "-3", "0", "1.5", "nan", "inf", "1e99"])
def test_what_is_no_number_of_images_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError):
        image_count(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28_800), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("2d", 172_800)]
)
def test_times_are_read_as_people_write_them(text: str, seconds: float):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["8", "", "h", "8 hours", "-8h", "0h"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


def test_a_node_is_cores_and_perhaps_gpus():
    assert (node_kind("16"), node_kind("16,2")) == ((16, 0), (16, 2))
    for text in ("", "0", "16,", "16,x", "16,-1"):
        with pytest.raises(argparse.ArgumentTypeError):
            node_kind(text)


def test_a_plan_says_nodes_hours_requests_cost_and_what_it_supposes(here: Here, capsys: pytest.CaptureFixture[str]):
    assert here("plan", "--images", "5e6", "--deadline", "8h") == 0
    text = capsys.readouterr().out
    for said in (
        "nodes",
        "GET",
        "PUT",
        "LIST",
        "outcome files",
        "example list prices, check yours",
        "benchmarks/results/plan_rates.json",
        "not yet measured on a GPU",
        "supposed",
    ):
        assert said in text


def test_as_json_it_has_the_same_figures(here: Here, capsys: pytest.CaptureFixture[str]):
    assert here("plan", "--images", "5e6", "--deadline", "8h", "--json", "--output", "cutout") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["wanted"]["images"] == 5_000_000
    assert plan["hours"] <= 8
    assert plan["requests"]["gets"] >= 5_000_000
    assert plan["cost"]["note"] == "example list prices, check yours"
    assert plan["rates"]["command"].startswith("python benchmarks/plan_rates.py")
    assert len(plan["supposed"]) > 5


def test_what_cannot_be_done_is_wrong_use_and_says_what_can(here: Here, capsys: pytest.CaptureFixture[str]):
    assert here("plan", "--images", "5M", "--deadline", "3m") == 2
    assert "Possible are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--images", "5M"), "needs --deadline"),
        (("--deadline", "8h"), "needs --images"),
        (("--images", "five", "--deadline", "8h"), "no number of images"),
        (("--images", "5M", "--deadline", "8h", "--node", "16,1"), "not yet measured on a GPU"),
        (("--images", "5M", "--deadline", "8h", "--rates", "missing.toml"), "missing.toml"),
        (("--images", "5M", "--deadline", "8h", "--prices", "missing.toml"), "missing.toml"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], said: str, here: Here, capsys: pytest.CaptureFixture[str]
):
    assert here("plan", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_own_prices_and_rates_are_taken_and_named(here: Here, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert here("plan", "--example-prices") == 0
    prices = capsys.readouterr().out.replace("example list prices, check yours", "as agreed with ACME")
    (tmp_path / "prices.toml").write_text(prices, encoding="utf-8")
    rates = to_toml(packaged_rates()).replace("efficiency = 0.96", "efficiency = 0.48")
    (tmp_path / "rates.toml").write_text(rates, encoding="utf-8")
    here("plan", "--images", "1M", "--nodes", "5", "--json")
    known = json.loads(capsys.readouterr().out)
    assert (
        here("plan", "--images", "1M", "--nodes", "5", "--json", "--prices", "prices.toml", "--rates", "rates.toml")
        == 0
    )
    own = json.loads(capsys.readouterr().out)
    assert own["cost"]["note"] == "as agreed with ACME"
    assert own["images_per_second_a_node"] == pytest.approx(known["images_per_second_a_node"] / 2, rel=1e-3)


def test_a_simulation_stands_beside_the_formula(here: Here, capsys: pytest.CaptureFixture[str]):
    arguments = ("plan", "--images", "2k", "--nodes", "4", "--node", "8", "--simulate", "--seed", "3")
    assert here(*arguments) == 0
    text = capsys.readouterr().out
    assert "simulated with seed 3" in text
    assert "every image ended once" in text
    assert here(*arguments, "--json") == 0
    simulated = json.loads(capsys.readouterr().out)["simulation"]
    assert simulated["cut"] + simulated["failures"] == 2000
    assert simulated["seed"] == 3


def test_a_calibration_measures_these_photographs_and_its_rates_can_be_kept(
    here: Here, samples: Path, tmp_path: Path, default_model: Path, capsys: pytest.CaptureFixture[str]
):
    taken = ("--calibrate", str(samples), "--calibrate-images", "2", "--save-rates", "mine.toml")
    assert here("plan", "--images", "1M", "--nodes", "10", "--json", *taken) == 0
    plan = json.loads(capsys.readouterr().out)
    rates = read_rates(tmp_path / "mine.toml")
    assert plan["wanted"]["megapixels"] == rates.measured_mp[1]
    assert rates.source.startswith("measured on this machine just now")
    assert rates.outputs["matte"].stages["cut"].at(rates.measured_mp[1]) > 0.05
    assert here("plan", "--images", "1M", "--nodes", "10", "--rates", "mine.toml") == 0
