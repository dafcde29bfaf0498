"""Rates files: what is packaged is what was measured, and what makes no sense is refused with its field."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from plan_rates import HEADER, RATES, from_results

from mattemill.cluster.planning.calibrate import Measured, rates_of
from mattemill.cluster.planning.prices import example_prices, packaged_prices, parse_prices
from mattemill.cluster.planning.rates import packaged_rates, parse_rates, read_rates, to_toml
from mattemill.pipeline.errors import ConfigError


def test_the_packaged_rates_are_those_of_the_committed_results():
    assert packaged_rates() == from_results()
    assert RATES.read_text(encoding="utf-8") == HEADER + to_toml(from_results())


def test_the_packaged_rates_say_where_they_come_from():
    rates = packaged_rates()
    assert "benchmarks/results/plan_rates.json" in rates.source
    assert rates.command.startswith("python benchmarks/")
    assert not rates.on_gpu


def test_a_rates_file_that_is_written_reads_the_same_again(tmp_path: Path):
    rates = replace(packaged_rates(), source='a "quoted" \\ name\n', workers_per_gpu=3)
    path = tmp_path / "rates.toml"
    path.write_text(to_toml(rates), encoding="utf-8")
    assert read_rates(path) == rates


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("efficiency = 0.96", "efficiency = 1.5", "efficiency = 1.5"),
        ("efficiency = 0.96", "", "efficiency is missing"),
        ("efficiency = 0.96", "efficency = 0.96", "'efficency'"),
        ("spread = ", "spread = true #", "must be of type float"),
        ("busy = 1.0", "busy = -1.0", "busy = -1.0"),
        (".stages.store]", ".stages.stroe]", "fetch, cut, store"),
        ("measured_mp = [0.5, 2.0]", "measured_mp = 2.0", "measured_mp"),
        ("[outputs.matte]", "[outputs.matte", "no TOML"),
    ],
)
def test_a_rates_file_that_makes_no_sense_is_refused_with_its_field(old: str, new: str, named: str):
    text = to_toml(replace(packaged_rates(), efficiency=0.96, measured_mp=(0.5, 2.0)))
    assert old in text
    with pytest.raises(ConfigError, match=r"mine\.toml") as raised:
        parse_rates(text.replace(old, new), "mine.toml")
    assert named in str(raised.value)


def measured(megapixels: float, cut: float, **changes: object) -> Measured:
    seconds = {"fetch": 0.01, "cut": cut, "store": 0.02}
    one = Measured(
        images=10,
        outputs=10,
        megapixels=megapixels,
        input_bytes=1e5 * megapixels,
        output_bytes=5e4 * megapixels,
        seconds={**seconds, "cut": 2 * cut},  # it waited for its core
        core_seconds=seconds,
        spread=0.1,
        gpu=False,
        output="matte",
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def test_two_sizes_make_a_line_and_waiting_for_a_core_is_no_work():
    rates = rates_of([measured(0.5, 1.1), measured(2.0, 1.4)], packaged_rates(), "here", "now")
    cut = rates.outputs["matte"].stages["cut"]
    assert (cut.seconds, cut.seconds_per_mp, cut.busy) == (pytest.approx(1.0), pytest.approx(0.2), 1.0)
    assert rates.outputs["matte"].bytes_per_mp == pytest.approx(5e4)
    assert rates.efficiency == packaged_rates().efficiency


def test_one_size_keeps_the_slope_of_the_rates_that_are_known():
    base = packaged_rates()
    was = base.outputs["matte"].stages["cut"]
    rates = rates_of([measured(1.0, 2 * was.at(1.0))], base, "here", "now")
    assert rates.outputs["matte"].stages["cut"].at(4.0) == pytest.approx(2 * was.at(4.0), rel=1e-4)


def test_on_a_gpu_what_the_cores_do_is_told_from_what_they_wait_for():
    rates = rates_of([measured(2.0, 0.05, gpu=True)], packaged_rates(), "here", "now")
    cut = rates.outputs["matte"].stages["cut"]
    assert (cut.gpu, cut.seconds, cut.busy) == (True, pytest.approx(0.1), pytest.approx(0.5))
    assert rates.on_gpu


def test_the_packaged_prices_say_that_they_are_examples_and_of_when():
    prices = packaged_prices()
    assert "example" in prices.note
    assert "check yours" in prices.note
    assert prices.date == "2026-11-23"
    assert parse_prices(example_prices(), "x") == prices


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("core_hour = 0.045", "", "core_hour is missing"),
        ("core_hour = 0.045", 'core_hour = "cheap"', "core_hour = 'cheap'"),
        ("core_hour = 0.045", "core_hour = -1", "core_hour = -1"),
        ("core_hour = 0.045", "core_hour = 1\nper_hug = 1", "'per_hug'"),
        ('note = "example list prices, check yours"', 'note = ""', "note is empty"),
    ],
)
def test_prices_that_make_no_sense_are_refused_with_their_field(old: str, new: str, named: str):
    with pytest.raises(ConfigError, match=r"mine\.toml") as raised:
        parse_prices(example_prices().replace(old, new), "mine.toml")
    assert named in str(raised.value)
