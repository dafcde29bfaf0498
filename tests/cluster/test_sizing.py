"""The solver against what it promises, over generated machines and stages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattemill.cluster.sizing import batch_size, choose_placement, solve

SPLIT = ("fetch", "detect", "segment", "matte", "store")

seconds = st.lists(st.floats(1e-4, 30.0), min_size=5, max_size=5).map(
    lambda values: dict(zip(SPLIT, values, strict=True))
)
fan_outs = st.fixed_dictionaries({"segment": st.floats(1.0, 8.0)})
cpu_counts = st.floats(0.5, 256.0)
gpu_counts = st.integers(0, 8)
busies = st.fixed_dictionaries({"fetch": st.floats(0.0, 1.0), "store": st.floats(0.0, 1.0)})
GPU_STAGES = ("detect", "segment", "matte")


@given(seconds, fan_outs, cpu_counts, gpu_counts, busies, st.integers(0, 64))
def test_the_workers_never_ask_for_more_than_the_machine_has(work, fan_out, cpus, gpus, busy, workers):
    sizing = solve(work, fan_out, cpus, gpus, gpu_stages=GPU_STAGES, busy=busy, network_workers=workers)
    assert sizing.cpus <= cpus + 1e-9
    assert sizing.gpus <= gpus + 1e-9
    assert all(stage.workers >= 1 and 1 <= stage.batch <= 32 for stage in sizing.stages.values())
    assert all(0 <= stage.cpu_share <= 1 and 0 <= stage.gpu_share <= 1 for stage in sizing.stages.values())


@given(seconds, fan_outs, cpu_counts)
def test_the_rate_is_never_below_that_of_an_even_split(work, fan_out, cpus):
    even = min(cpus / len(work) / (work[name] * fan_out.get(name, 1.0)) for name in work)
    assert solve(work, fan_out, cpus).rate >= even * (1 - 1e-9)


@given(seconds, fan_outs, st.integers(5, 40))
def test_no_other_division_of_whole_workers_is_faster(work, fan_out, cpus):
    """Every stage's own cores, a whole one a worker: what a solver by utilisation would hand out."""
    counts = dict.fromkeys(work, 1)
    for _ in range(cpus - len(work)):
        slowest = min(work, key=lambda name: counts[name] / (work[name] * fan_out.get(name, 1.0)))
        counts[slowest] += 1
    whole = min(counts[name] / (work[name] * fan_out.get(name, 1.0)) for name in work)
    assert solve(work, fan_out, cpus).rate >= whole * (1 - 1e-9)


@given(seconds, fan_outs, cpu_counts, st.floats(0.0, 64.0), gpu_counts, st.integers(0, 3))
def test_more_cores_or_gpus_never_make_it_slower(work, fan_out, cpus, more, gpus, more_gpus):
    less = solve(work, fan_out, cpus, gpus, gpu_stages=GPU_STAGES) if gpus else solve(work, fan_out, cpus)
    great = solve(work, fan_out, cpus + more, gpus + more_gpus, gpu_stages=GPU_STAGES if gpus else ())
    assert great.rate >= less.rate * (1 - 1e-9)


@given(seconds, fan_outs, cpu_counts, st.integers(3, 40))
def test_more_network_workers_never_make_it_slower(work, fan_out, cpus, workers):
    fewer = solve(work, fan_out, cpus, network_workers=workers)
    more = solve(work, fan_out, cpus, network_workers=workers + 1)
    assert sum(fewer.workers[name] for name in GPU_STAGES) == workers
    assert more.rate >= fewer.rate * (1 - 1e-9)


@given(seconds, fan_outs, cpu_counts)
def test_every_stage_has_workers_enough_for_the_rate_of_the_whole(work, fan_out, cpus):
    sizing = solve(work, fan_out, cpus)
    assert all(stage.rate >= sizing.rate * (1 - 1e-9) for stage in sizing.stages.values())


def test_two_cores_get_one_worker_a_stage_and_the_rate_that_the_cores_allow():
    work = {"fetch": 0.01, "detect": 0.45, "segment": 0.45, "matte": 0.1, "store": 0.02}
    sizing = solve(work, {}, 2)
    assert sizing.workers == dict.fromkeys(work, 1)
    assert sizing.rate == pytest.approx(2 / 1.03)
    assert sizing.bottleneck == "cpus"
    assert sizing.stages["detect"].batch == 1
    assert sizing.stages["store"].batch == 12


def test_fused_workers_are_as_many_as_the_cores():
    sizing = solve({"fetch": 0.01, "cut": 1.0, "store": 0.02}, {}, 2)
    assert sizing.workers == {"fetch": 1, "cut": 2, "store": 1}


def test_a_stage_that_waits_gets_more_workers_than_its_cores():
    sizing = solve({"fetch": 1.0, "cut": 0.1}, {}, 4, busy={"fetch": 0.01})
    assert sizing.workers["fetch"] > 30
    assert sizing.stages["fetch"].cpu_share < 0.05


def test_too_few_network_workers_are_named_as_the_bottleneck():
    sizing = solve({"fetch": 0.001, "cut": 1.0, "store": 0.001}, {}, 16, network_workers=2)
    assert sizing.bottleneck == "cut"
    assert sizing.rate == pytest.approx(2.0)


def test_each_gpu_has_one_worker_of_each_gpu_stage_and_the_shares_fit_in_any_order():
    sizing = solve(dict.fromkeys(SPLIT, 0.01), {}, 32, 2, gpu_stages=GPU_STAGES)
    assert {name: sizing.workers[name] for name in GPU_STAGES} == dict.fromkeys(GPU_STAGES, 2)
    shares = {sizing.stages[name].gpu_share for name in GPU_STAGES}
    assert shares == {0.3333}


@pytest.mark.parametrize(("item_seconds", "batch"), [(0.45, 1), (0.1, 2), (0.02, 12), (0.0001, 32), (0.0, 32)])
def test_a_batch_fills_a_quarter_of_a_second_within_one_and_thirty_two(item_seconds, batch):
    assert batch_size(item_seconds) == batch


@pytest.mark.parametrize(
    ("work", "cpus", "gpus"),
    [({}, 2, 0), ({"cut": 0.0}, 2, 0), ({"cut": float("nan")}, 2, 0), ({"cut": 1.0}, 0, 0), ({"cut": 1.0}, 2, -1)],
)
def test_figures_that_make_no_sense_are_refused(work, cpus, gpus):
    with pytest.raises(ValueError, match="solve"):
        solve(work, {}, cpus, gpus)


def test_auto_placement_is_fused_without_a_gpu_and_split_with_one():
    work = {"detect": 0.45, "segment": 0.45, "matte": 0.1}
    assert choose_placement(work, 2) == "fused"
    assert choose_placement(work, 64) == "fused"
    assert choose_placement(work, 16, 1) == "split"
