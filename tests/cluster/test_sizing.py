"""The solver against what it promises, over generated machines and stages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
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
all_busy = st.fixed_dictionaries({name: st.floats(0.0, 1.0) for name in SPLIT})
per_gpus = st.integers(1, 6)


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


@settings(max_examples=60, deadline=None)
@given(seconds, fan_outs, cpu_counts, st.floats(0.1, 8.0), all_busy, per_gpus, st.integers(0, 40))
def test_the_rate_that_is_promised_needs_no_more_cores_and_gpus_than_there_are(
    work, fan_out, cpus, gpus, busy, per_gpu, workers
):
    """Also of the cores that stages on GPUs decode and matte on; and no share of a GPU is left over for nobody."""
    sizing = solve(
        work,
        fan_out,
        cpus,
        gpus,
        gpu_stages=GPU_STAGES,
        busy=busy,
        per_gpu=per_gpu,
        network_workers=workers,
    )
    each = {name: work[name] * fan_out.get(name, 1.0) for name in work}
    assert sizing.rate * sum(each[name] * busy[name] for name in work) <= cpus * (1 + 1e-9)
    assert sizing.rate * sum(each[name] for name in GPU_STAGES) <= max(min(gpus, 1.0), int(gpus)) * per_gpu * (1 + 1e-9)
    assert sizing.cpus <= cpus + 1e-9
    assert sizing.gpus <= gpus + 1e-9
    assert all(sizing.rate <= stage.rate * (1 + 1e-9) for stage in sizing.stages.values())


@settings(max_examples=60, deadline=None)
@given(seconds, fan_outs, cpu_counts, st.integers(1, 8), all_busy, per_gpus)
def test_with_gpus_too_it_is_never_slower_than_an_even_split(work, fan_out, cpus, gpus, busy, per_gpu):
    """Even: each stage has the same part of the cores, each stage on GPUs the same part of them."""
    each = {name: work[name] * fan_out.get(name, 1.0) for name in work}
    of_cores = [cpus / len(work) / (each[name] * busy[name]) for name in work if busy[name] > 1e-9]
    of_gpus = [gpus * per_gpu / len(GPU_STAGES) / each[name] for name in GPU_STAGES]
    # A stage that waits more than 31 parts of 32 has as many workers as 32 a core allow, in either division.
    of_workers = [32 * cpus / len(work) / each[name] for name in work if name not in GPU_STAGES]
    sizing = solve(work, fan_out, cpus, gpus, gpu_stages=GPU_STAGES, busy=busy, per_gpu=per_gpu)
    assert sizing.rate >= min(of_cores + of_gpus + of_workers) * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seconds,
    fan_outs,
    cpu_counts,
    st.floats(0.0, 64.0),
    st.floats(0.1, 8.0),
    st.floats(0.0, 3.0),
    all_busy,
    per_gpus,
    st.integers(0, 12),
)
def test_more_of_anything_never_makes_it_slower(work, fan_out, cpus, more, gpus, more_gpus, busy, per_gpu, workers):
    def rate(cpus, gpus, per_gpu, workers):
        return solve(
            work,
            fan_out,
            cpus,
            gpus,
            gpu_stages=GPU_STAGES,
            busy=busy,
            per_gpu=per_gpu,
            network_workers=workers,
        ).rate

    least = rate(cpus, gpus, per_gpu, workers) * (1 - 1e-9)
    assert rate(cpus + more, gpus, per_gpu, workers) >= least
    assert rate(cpus, gpus + more_gpus, per_gpu, workers) >= least
    assert rate(cpus, gpus, per_gpu + 1, workers) >= least
    if workers:
        assert rate(cpus, gpus, per_gpu, workers + 1) >= least


@settings(max_examples=60, deadline=None)
@given(seconds, fan_outs, cpu_counts, all_busy, st.sampled_from(SPLIT), st.floats(0.1, 1.0))
def test_a_stage_that_becomes_quicker_never_makes_it_slower(work, fan_out, cpus, busy, stage, factor):
    before = solve(work, fan_out, cpus, busy=busy).rate
    assert solve({**work, stage: work[stage] * factor}, fan_out, cpus, busy=busy).rate >= before * (1 - 1e-9)


def test_what_a_gpu_stage_does_on_cores_is_a_limit_once_it_was_measured():
    work = {"fetch": 0.001, "cut": 0.1, "store": 0.001}
    unmeasured = solve(work, {}, 1, 1, gpu_stages=("cut",), per_gpu=4)
    assert (unmeasured.bottleneck, unmeasured.rate) == ("gpus", pytest.approx(40.0))
    measured = solve(work, {}, 1, 1, gpu_stages=("cut",), per_gpu=4, busy={"cut": 0.5})
    assert (measured.bottleneck, measured.rate) == ("cpus", pytest.approx(1 / 0.052))


def test_stages_that_only_wait_need_no_cores_and_are_as_fast_as_the_slowest_of_them():
    sizing = solve({"fetch": 0.5, "store": 0.1}, {}, 2, busy={"fetch": 5e-324, "store": 0.0})
    assert (sizing.bottleneck, sizing.rate) == ("fetch", pytest.approx(4.0))
    assert sizing.cpus == 0.0


def test_nine_tenths_of_a_second_gpu_serve_nobody():
    work = dict.fromkeys(SPLIT, 0.01)
    assert solve(work, {}, 32, 1.9, gpu_stages=GPU_STAGES).rate == solve(work, {}, 32, 1, gpu_stages=GPU_STAGES).rate


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
