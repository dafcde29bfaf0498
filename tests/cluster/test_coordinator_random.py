"""Whatever goes wrong: every image ends once, credits return to zero, payloads are all dropped."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cell import Behaviour, SimulatedCell, fused_plan, refs, shards_of, split_plan

from mattemill.cluster.gate import FIRST_RATIO
from mattemill.pipeline.outcome import Failure, Matte
from mattemill.pipeline.reasons import Reason

N = 80


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    split=st.booleans(),
    workers=st.integers(1, 4),
    deaths=st.sampled_from([0.0, 0.0, 0.02, 0.1]),
    losses=st.sampled_from([0.0, 0.0, 0.03]),
    poisons=st.lists(
        st.tuples(st.integers(0, N - 1), st.sampled_from(["raises", "kills", "hangs", "sickens", "fails"])), max_size=6
    ),
    bad_crops=st.dictionaries(st.integers(0, N - 1), st.integers(0, 3), max_size=12),
    in_order=st.booleans(),
    gate_bytes=st.sampled_from([2_000_000, 50_000_000, 10**9]),
    shard_size=st.sampled_from([1, 7, 64, 256]),
)
def test_every_image_ends_exactly_once(
    seed: int,
    split: bool,
    workers: int,
    deaths: float,
    losses: float,
    poisons: list[tuple[int, str]],
    bad_crops: dict[int, int],
    in_order: bool,
    gate_bytes: int,
    shard_size: int,
) -> None:
    rng = random.Random(seed)
    make = split_plan if split else fused_plan
    plan = make(workers, gate_bytes=gate_bytes, call_timeout=3.0, losses=1000)
    stages = [stage.name for stage in plan.stages]
    struck: dict[str, dict[str, str]] = {kind: {} for kind in ("raises", "kills", "hangs", "sickens", "fails")}
    expected: dict[str, set[Reason]] = {}
    means = {
        "raises": Reason.INTERNAL_ERROR,
        "kills": Reason.WORKER_DIED,
        "hangs": Reason.TIMED_OUT,
        "sickens": Reason.INTERNAL_ERROR,
        "fails": Reason.NO_SUBJECT,
    }
    for number, kind in dict(poisons).items():
        key = f"k{number:05d}"
        struck[kind][key] = rng.choice(stages)
        expected[key] = {means[kind]}
    sizes = {ref.key: rng.choice([10_000, 1_000_000, 5_000_000]) for ref in refs(N)}
    if split:
        for number, crop in bad_crops.items():
            if crop < number % 4 + 1:
                expected.setdefault(f"k{number:05d}", set()).add(Reason.NO_SUBJECT)
    behaviour = Behaviour(
        **struck,
        fails_crop={f"k{number:05d}": crop for number, crop in bad_crops.items()},
        random_deaths=deaths,
        random_losses=losses,
        in_order=in_order,
        decoded=sizes.__getitem__,
        fan_out=lambda key: int(key[1:]) % 4 + 1,
    )
    cell = SimulatedCell(plan, behaviour, seed=seed)
    shards = shards_of(N, shard_size)
    cell.run(shards)

    assert set(cell.outcomes) == {ref.key for ref in refs(N)}
    assert sorted(cell.committed) == sorted(shard.id for shard in shards)
    gate = cell.coordinator.gate
    assert (gate.held, gate.permits, gate.stored) == (0, 0, 0)
    assert cell.live == set()
    assert cell.dropped_twice == 0
    assert cell.coordinator._stock.held == 0
    # The overdraft: no image is charged less than its floor, and at most a fetch's worth of them is not known yet.
    in_fetch = plan.stages[0].workers * 2 * 32 + cell.coordinator._stock.limit
    assert cell.worst_excess <= max(5_000_000, int(FIRST_RATIO * 100_000)) + in_fetch * 5_000_000
    for key, outcome in cell.outcomes.items():
        if deaths == 0.0 and losses == 0.0:
            if key in expected:
                assert isinstance(outcome, Failure)
                assert outcome.reason in expected[key]
            else:
                assert isinstance(outcome, Matte), f"{key} is innocent and ended as {outcome}"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), split=st.booleans(), at=st.floats(0.1, 6.0), deaths=st.sampled_from([0.0, 0.05]))
def test_a_drain_at_any_moment_loses_nothing(seed: int, split: bool, at: float, deaths: float) -> None:
    plan = (split_plan if split else fused_plan)(2, losses=1000)
    cell = SimulatedCell(plan, Behaviour(random_deaths=deaths, fan_out=lambda key: int(key[1:]) % 3 + 1), seed=seed)
    cell.run(shards_of(600, 64), drain_at=at)
    parts = cell.coordinator.finished_parts()
    for shard, outcomes in parts:
        assert set(outcomes) < {ref.key for ref in shard.refs}
        assert not set(outcomes) & set(cell.outcomes)
    assert len(cell.outcomes) + sum(len(o) for _, o in parts) == cell.coordinator.ended
    assert cell.coordinator.gate.held == 0
    assert cell.live == set()
