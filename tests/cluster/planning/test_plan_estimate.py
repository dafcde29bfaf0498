"""The formula: what it promises, and what it refuses."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.estimate import Wanted, estimate, node_rate
from mattemill.cluster.planning.prices import packaged_prices
from mattemill.cluster.planning.rates import OutputRates, Rates, StageRate, packaged_rates
from mattemill.pipeline.errors import UsageError

PRICES, ASSUME = packaged_prices(), Assumptions()
HOUR = 3600.0


def on_gpu(rates: Rates, seconds: float = 0.02) -> Rates:
    """The rates as a user might have measured them on a GPU."""
    stages = {
        "fetch": StageRate(0.005, busy=0.5),
        "cut": StageRate(seconds, busy=0.5, gpu=True),
        "store": StageRate(0.01),
    }
    return replace(rates, outputs={"matte": OutputRates(50_000.0, stages)}, workers_per_gpu=4)


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(1, 10**8),
    hours=st.floats(0.5, 48.0),
    cores=st.integers(1, 192),
    megapixels=st.floats(0.1, 24.0),
    output=st.sampled_from(["matte", "cutout"]),
)
def test_a_plan_keeps_its_deadline_with_the_fewest_nodes_or_says_what_would(
    images: int, hours: float, cores: int, megapixels: float, output: str
):
    wanted = Wanted(images, hours * HOUR, cores, output=output, megapixels=megapixels)
    rates = packaged_rates()
    try:
        plan = estimate(wanted, rates, PRICES, ASSUME)
    except UsageError as refused:
        said = str(refused)
        assert "Possible are" in said
        return
    assert plan.seconds <= wanted.deadline
    assert 1 <= plan.nodes <= wanted.most_nodes
    assert plan.requests.photographs == images
    if plan.nodes > 1:
        with pytest.raises(UsageError, match="cannot be done"):
            estimate(replace(wanted, nodes=plan.nodes - 1), rates, PRICES, ASSUME)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**7), st.integers(1, 64), st.integers(0, 64), st.integers(1, 50))
def test_more_cores_or_nodes_are_never_slower_and_more_images_never_cheaper(
    images: int, cores: int, more: int, nodes: int
):
    rates = packaged_rates()

    def plan(images: int, cores: int, nodes: int):
        return estimate(Wanted(images, math.inf, cores, nodes=nodes), rates, PRICES, ASSUME)

    this = plan(images, cores, nodes)
    assert plan(images, cores + more, nodes).seconds <= this.seconds * (1 + 1e-9)
    assert plan(images, cores, nodes + more).seconds <= this.seconds * (1 + 1e-9)
    assert plan(2 * images, cores, nodes).cost.total >= this.cost.total


def test_what_would_be_possible_is_possible():
    rates = packaged_rates()
    wanted = Wanted(5_000_000, 8 * HOUR, 4, most_nodes=50)
    with pytest.raises(UsageError, match=r"or --most-nodes (\d+)") as raised:
        estimate(wanted, rates, PRICES, ASSUME)
    found = re.search(r"are ([\d.]+) h .* or ([\d,]+) images in that time, or --most-nodes (\d+)", str(raised.value))
    assert found is not None
    hours, images, nodes = float(found[1]), int(found[2].replace(",", "")), int(found[3])
    assert estimate(replace(wanted, most_nodes=nodes), rates, PRICES, ASSUME).nodes == nodes
    assert estimate(replace(wanted, deadline=hours * HOUR), rates, PRICES, ASSUME).nodes <= 50
    assert estimate(replace(wanted, images=images), rates, PRICES, ASSUME).nodes <= 50


def test_a_deadline_shorter_than_a_boot_is_refused_with_the_shortest_one():
    with pytest.raises(UsageError, match=r"Possible are 1[0-9] min with 1,000 nodes"):
        estimate(Wanted(5_000_000, 60.0, 16), packaged_rates(), PRICES, ASSUME)


def test_gpu_nodes_are_refused_without_rates_that_were_measured_on_one():
    with pytest.raises(UsageError, match=r"not yet measured on a GPU.*--rates FILE"):
        estimate(Wanted(1000, HOUR, 16, 1), packaged_rates(), PRICES, ASSUME)


def test_gpu_rates_plan_gpu_nodes_and_only_those():
    rates = on_gpu(packaged_rates())
    node = node_rate(rates, Wanted(1000, HOUR, 32, 1))
    # Four workers of 20 ms make 200 a second; 32 cores at 96 % do more.
    assert (node.bottleneck, node.images_per_second) == ("gpus", pytest.approx(200.0))
    assert node.workers["cut"] == 4
    few = node_rate(rates, Wanted(1000, HOUR, 2, 1))
    assert few.bottleneck == "cpus"
    with pytest.raises(UsageError, match="the node has none"):
        node_rate(rates, Wanted(1000, HOUR, 16))


def test_no_node_is_promised_more_than_one_coordinator_was_seen_to_do():
    node = node_rate(on_gpu(packaged_rates(), 0.0001), Wanted(1000, HOUR, 1000, 8))
    assert (node.bottleneck, node.images_per_second) == ("coordinator", packaged_rates().most_per_node)


def test_an_output_that_was_not_measured_is_refused():
    with pytest.raises(UsageError, match="--output cutout"):
        node_rate(on_gpu(packaged_rates()), Wanted(1, HOUR, 1, 1, output="cutout"))


def test_the_cost_is_the_sum_of_its_parts_at_the_prices():
    prices = replace(PRICES, core_hour=1.0, get_per_1000=0.0, put_per_1000=10.0, list_per_1000=0.0)
    plan = estimate(Wanted(1_000_000, 8 * HOUR, 16), packaged_rates(), prices, ASSUME)
    assert plan.cost.nodes == pytest.approx(16 * plan.node_seconds / HOUR)
    assert plan.cost.requests == pytest.approx(plan.requests.puts / 100)
    assert plan.cost.total == pytest.approx(plan.cost.nodes + plan.cost.requests)


def test_sizes_and_nodes_that_were_not_measured_are_said_to_be_extrapolated():
    plan = estimate(Wanted(1000, HOUR, 64, megapixels=12.0), packaged_rates(), PRICES, ASSUME)
    assert any("12 MP lies outside" in note for note in plan.notes)
    assert any("64 cores is extrapolated" in note for note in plan.notes)
    assert not estimate(Wanted(1000, HOUR, 2), packaged_rates(), PRICES, ASSUME).notes


def test_more_requests_a_second_than_a_prefix_is_granted_are_pointed_out():
    plan = estimate(Wanted(10**8, math.inf, 64, nodes=400), packaged_rates(), PRICES, ASSUME)
    assert any("3,500 PUT" in note for note in plan.notes)
