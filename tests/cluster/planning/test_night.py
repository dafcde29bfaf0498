"""The simulated night: whatever goes wrong, every image ends once; and what it costs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest

from mattemill.cluster.errors import FinishedTwiceError
from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.estimate import Wanted, estimate
from mattemill.cluster.planning.night import Night, simulate_night
from mattemill.cluster.planning.night_node import NightNode
from mattemill.cluster.planning.prices import packaged_prices
from mattemill.cluster.planning.rates import packaged_rates
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.outcome import Matte
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard

IMAGES, NODES = 60_001, 8  # one more than whole shards
QUIET = Assumptions(image_failures=0.0, worker_deaths=0.0, node_deaths=0.0, slow_nodes=0.0)
WANTED = Wanted(IMAGES, float("inf"), 8, nodes=NODES)


@lru_cache
def night(seed: int = 1, **changes: float) -> Night:
    """A night of an hour with what is changed from a quiet one."""
    assume = replace(QUIET, **changes)
    return simulate_night(WANTED, NODES, packaged_rates(), assume, seed=seed, detailed_images=800)


def test_a_quiet_night_takes_what_the_formula_says():
    planned = estimate(WANTED, packaged_rates(), packaged_prices(), QUIET)
    quiet = night()
    assert quiet.seconds == pytest.approx(planned.seconds, rel=0.05)
    assert quiet.node_seconds == pytest.approx(planned.node_seconds, rel=0.05)
    assert (quiet.cut, quiet.failures, quiet.repeated, quiet.nodes) == (IMAGES, 0, 0, NODES)
    assert quiet.idle[2] < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_every_image_ends_once_whatever_dies(seed: int):
    bad = night(seed, image_failures=0.1, worker_deaths=2000.0, node_deaths=400.0, cut_offs=0.5, slow_nodes=0.2)
    # That no image ended twice, and that each has ended, is checked inside image by image.
    assert bad.cut + bad.failures == IMAGES
    assert bad.failures == pytest.approx(0.1 * IMAGES, rel=0.05)
    assert bad.node_deaths > 10
    assert bad.cut_offs > 10
    assert bad.worker_deaths > 50
    assert bad.nodes >= NODES + bad.node_deaths - 3  # some replacements may not have joined
    assert bad.repeated > 0


def test_nodes_that_die_cost_repeated_work_time_and_their_replacements():
    deaths = night(node_deaths=300.0, cut_offs=0.0)
    assert deaths.node_deaths > 10
    assert deaths.late_commits == 0
    shard = QUIET.shard_size
    assert deaths.node_deaths * 0.1 * shard < deaths.repeated < deaths.node_deaths * 5 * shard
    assert deaths.seconds > night().seconds
    assert deaths.nodes > NODES


def test_a_node_that_was_cut_off_commits_too_late_and_that_is_harmless():
    cut = night(node_deaths=300.0, cut_offs=1.0)
    assert (cut.node_deaths, cut.cut, cut.nodes) == (0, IMAGES, NODES)
    assert cut.late_commits > 0
    assert cut.repeated >= cut.late_commits


def test_slow_nodes_make_the_night_longer_and_do_less_of_it():
    slow = night(slow_nodes=0.5)
    assert slow.slow_nodes > 1
    assert slow.seconds > 1.1 * night().seconds
    assert slow.cut == IMAGES


def test_the_night_is_the_same_for_the_same_seed():
    wanted, faults = replace(WANTED, images=20_000), replace(QUIET, node_deaths=500.0, slow_nodes=0.2)
    one = simulate_night(wanted, NODES, packaged_rates(), faults, seed=7, detailed_images=200)
    assert simulate_night(wanted, NODES, packaged_rates(), faults, seed=7, detailed_images=200) == one
    assert simulate_night(wanted, NODES, packaged_rates(), faults, seed=8, detailed_images=200) != one


def test_more_nodes_than_shards_leave_some_idle_and_the_rest_works():
    small = simulate_night(replace(WANTED, images=100), 5, packaged_rates(), QUIET, seed=1, detailed_images=200)
    assert small.cut == 100
    assert small.idle[2] > 0.99


def test_a_night_in_which_no_node_lives_for_a_shard_ends_with_that_error():
    # Two cores need three minutes for a shard; a node lives for some seconds.
    wanted, faults = replace(WANTED, images=1000, cores=2), replace(QUIET, node_deaths=50_000.0, cut_offs=0.0)
    with pytest.raises(UsageError, match="stands still"):
        simulate_night(wanted, 1, packaged_rates(), faults, seed=1, detailed_images=100)


def test_a_second_end_of_an_image_on_a_node_is_an_error():
    """The count that the night relies on is the real coordinator's, which refuses a shard that ends twice."""
    node = NightNode(1, 0.0, 1.0, begin=lambda node, key: None, closed=lambda node, shard: None)
    node.offer(0, Shard("0", (ImageRef("0", "", None, 128),)))
    node.pump()
    assert node.running is not None
    image = node.running.items[0].image
    node.finish(5.0)
    node.pump()
    with pytest.raises(FinishedTwiceError):
        node.coordinator.finish(image, Matte("0.png", 1))
