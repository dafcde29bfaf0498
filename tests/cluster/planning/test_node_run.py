"""One node in detail: the real coordinator on simulated workers agrees with the formula and loses nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mattemill.cluster.planning.estimate import Wanted, node_rate
from mattemill.cluster.planning.node_run import run_node
from mattemill.cluster.planning.rates import OutputRates, Rates, StageRate, packaged_rates


def gpu_rates() -> Rates:
    """Rates as of a node with a GPU, the networks split into their stages."""
    stages = {
        "fetch": StageRate(0.01, busy=0.3),
        "detect": StageRate(0.010, busy=0.5, gpu=True),
        "segment": StageRate(0.010, busy=0.5, gpu=True, fan_out=1.5),
        "matte": StageRate(0.020, busy=0.7, gpu=True),
        "store": StageRate(0.01, busy=0.8),
    }
    return replace(packaged_rates(), outputs={"matte": OutputRates(50_000.0, stages)}, workers_per_gpu=2)


@pytest.mark.parametrize("cores", [2, 16])
def test_without_faults_the_simulation_is_within_a_few_percent_of_the_formula(cores: int):
    rates, wanted = packaged_rates(), Wanted(1, 1.0, cores)
    run = run_node(rates, wanted, 150 * cores, seed=1)
    assert run.rate == pytest.approx(node_rate(rates, wanted).images_per_second, rel=0.05)
    assert run.idle < 0.05
    assert run.workers["cut"] == cores


def test_a_gpu_node_is_simulated_stage_by_stage():
    rates, wanted = gpu_rates(), Wanted(1, 1.0, 16, 1)
    run = run_node(rates, wanted, 1500, seed=1)
    promised = node_rate(rates, wanted)
    assert promised.bottleneck == "gpus"
    # The formula counts a worker's seconds as the GPU's; while one computes on its core, another has the GPU.
    assert 0.8 * promised.images_per_second <= run.rate <= 2.0 * promised.images_per_second
    assert set(run.workers) == {"fetch", "detect", "segment", "matte", "store"}


def test_a_run_is_the_same_for_the_same_seed_and_another_for_another():
    rates, wanted = packaged_rates(), Wanted(1, 1.0, 4)
    first = run_node(rates, wanted, 200, seed=3, image_failures=0.1)
    assert run_node(rates, wanted, 200, seed=3, image_failures=0.1) == first
    assert run_node(rates, wanted, 200, seed=4, image_failures=0.1).ended != first.ended


def test_images_that_fail_are_counted_and_every_image_ends():
    run = run_node(packaged_rates(), Wanted(1, 1.0, 8), 600, seed=1, image_failures=0.25)
    assert run.images == 600
    assert 100 <= run.failures <= 200
    assert list(run.ended) == sorted(run.ended)


def test_workers_that_die_cost_time_and_no_image():
    rates, wanted = packaged_rates(), Wanted(1, 1.0, 4)
    calm = run_node(rates, wanted, 400, seed=1)
    deadly = run_node(rates, wanted, 400, seed=1, worker_deaths=0.05)
    assert deadly.images == 400
    assert deadly.failures == 0
    assert deadly.deaths > 5
    assert deadly.lost_core_seconds > 0
    assert deadly.seconds > calm.seconds
    assert (calm.deaths, calm.lost_core_seconds) == (0, 0.0)
