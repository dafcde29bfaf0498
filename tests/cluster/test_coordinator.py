"""What the coordinator does with images and faults, in a simulated cell."""

from __future__ import annotations

import pytest
from simulated_cell import Behaviour, SimulatedCell, fused_plan, refs, shards_of, split_plan

from mattemill.cluster.actions import Call, CellPlan, StagePlan
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.errors import BrokenStageError, FinishedTwiceError
from mattemill.cluster.gate import Gate
from mattemill.cluster.images import Image, OpenShard
from mattemill.pipeline.outcome import Failure, Matte
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import Shard, make_shard

PLANS = pytest.mark.parametrize("plan", [fused_plan(), split_plan()], ids=["fused", "split"])


def reasons(cell: SimulatedCell) -> dict[str, Reason]:
    return {key: outcome.reason for key, outcome in cell.outcomes.items() if isinstance(outcome, Failure)}


def assert_clean(cell: SimulatedCell) -> None:
    """Nothing is held when all is done."""
    gate = cell.coordinator.gate
    assert (gate.held, gate.permits, gate.stored) == (0, 0, 0)
    assert cell.live == set(), "payloads that nobody dropped"
    assert cell.dropped_twice == 0
    assert cell.coordinator._stock.held == 0


@PLANS
def test_every_image_ends_once_and_every_shard_is_closed(plan: CellPlan) -> None:
    cell = SimulatedCell(plan, Behaviour(fan_out=lambda key: int(key[1:]) % 4 + 1))
    shards = shards_of(500, 64)
    cell.run(shards)
    assert set(cell.outcomes) == {ref.key for ref in refs(500)}
    for key, outcome in cell.outcomes.items():
        assert isinstance(outcome, Matte)
        written = (outcome.output_key, outcome.output_bytes, outcome.output_width, outcome.output_height)
        assert written == (f"{key}.png", 10, 30, 20)
    assert sorted(cell.committed) == sorted(shard.id for shard in shards)
    assert_clean(cell)


def test_facts_tell_attempts_workers_devices_and_seconds_of_every_stage() -> None:
    cell = SimulatedCell(split_plan(), Behaviour(fan_out=lambda key: 3))
    cell.run(shards_of(10))
    facts = cell.outcomes["k00003"].facts
    stages = {"fetch", "detect", "segment", "matte", "store"}
    assert facts.attempts == dict.fromkeys(stages, 1), "three crops are one attempt each"
    assert set(facts.worker) == set(facts.device) == set(facts.seconds) == stages
    assert facts.width == 1


@PLANS
def test_a_failure_of_one_image_leaves_its_batch_alone(plan: CellPlan) -> None:
    stage = plan.stages[1].name
    cell = SimulatedCell(plan, Behaviour(fails={"k00020": stage, "k00021": "store"}))
    cell.run(shards_of(100))
    assert reasons(cell) == {"k00020": Reason.NO_SUBJECT, "k00021": Reason.NO_SUBJECT}
    assert_clean(cell)


@pytest.mark.parametrize("bad_crop", [0, 1, 2])
def test_a_crop_that_fails_leaves_the_crops_of_other_images_in_its_call_alone(bad_crop: int) -> None:
    bad = {f"k{i:05d}": bad_crop for i in range(0, 100, 3)}
    cell = SimulatedCell(split_plan(1), Behaviour(fails_crop=bad, fan_out=lambda key: 3))
    cell.run(shards_of(100))
    assert max(cell.batches["segment"]) > 3, "crops of several images share a call"
    assert reasons(cell) == dict.fromkeys(bad, Reason.NO_SUBJECT)
    assert_clean(cell)


@PLANS
def test_an_exception_is_bisected_down_to_the_image_that_causes_it(plan: CellPlan) -> None:
    stage = plan.stages[-2].name
    cell = SimulatedCell(plan, Behaviour(raises={"k00033": stage}))
    cell.run(shards_of(100))
    assert reasons(cell) == {"k00033": Reason.INTERNAL_ERROR}
    failure = cell.outcomes["k00033"]
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.message) == (stage, "ValueError: bad")
    assert cell.coordinator.counters.deaths == 0
    assert_clean(cell)


@PLANS
@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "out of order"])
def test_an_image_that_kills_its_worker_is_found_and_its_neighbours_are_cut(plan: CellPlan, in_order: bool) -> None:
    for stage in plan.stages:
        cell = SimulatedCell(plan, Behaviour(kills={"k00040": stage.name}, in_order=in_order), seed=3)
        cell.run(shards_of(200))
        assert reasons(cell) == {"k00040": Reason.WORKER_DIED}, stage.name
        failure = cell.outcomes["k00040"]
        assert isinstance(failure, Failure)
        assert failure.stage == stage.name
        assert failure.facts.attempts[stage.name] >= 2, "two deaths at size one"
        assert_clean(cell)


def test_calls_that_were_queued_behind_a_deadly_one_are_not_blamed() -> None:
    plan = fused_plan(1)
    kills = {f"k{i:05d}": "cut" for i in range(0, 60, 7)}
    cell = SimulatedCell(plan, Behaviour(kills=kills), seed=1)
    cell.run(shards_of(60))
    assert set(reasons(cell)) == set(kills)
    assert set(reasons(cell).values()) == {Reason.WORKER_DIED}


def test_a_call_over_its_deadline_costs_its_worker_and_times_the_image_out() -> None:
    plan = fused_plan(2, call_timeout=5.0)
    cell = SimulatedCell(plan, Behaviour(hangs={"k00050": "cut"}))
    cell.run(shards_of(100))
    assert reasons(cell) == {"k00050": Reason.TIMED_OUT}
    assert cell.coordinator.counters.timeouts >= 1
    assert cell.now < 60, "a batch does not get call_timeout for each of its images"
    assert_clean(cell)


@PLANS
def test_a_pause_of_the_whole_process_times_nobody_out(plan: CellPlan) -> None:
    cell = SimulatedCell(plan, Behaviour(seconds=lambda stage, rng: 0.2), seed=4)
    cell.pauses = {0.2: 3600.0, 3.1: 3600.0}  # in the start of the workers, and in calls
    cell.run(shards_of(100))
    assert cell.now > 7200
    assert reasons(cell) == {}
    assert (cell.coordinator.counters.timeouts, cell.coordinator.counters.deaths) == (0, 0)
    assert_clean(cell)


def test_a_call_that_hangs_is_still_found_after_a_pause() -> None:
    cell = SimulatedCell(fused_plan(2, call_timeout=5.0), Behaviour(hangs={"k00050": "cut"}))
    cell.pauses = {1.0: 3600.0}
    cell.run(shards_of(100))
    assert reasons(cell) == {"k00050": Reason.TIMED_OUT}
    assert cell.now < 3600 + 60


def test_a_call_that_begins_right_after_a_pause_has_its_deadline_from_there() -> None:
    coordinator = Coordinator(fused_plan(1, call_timeout=5.0), 0.0)
    coordinator.tick(0.25)
    coordinator.at(3600.0)  # the first event after the pause, before the tick that sees it
    coordinator.worker_ready(1, "fetch")
    coordinator.offer(make_shard(refs(1)))
    assert any(isinstance(action, Call) for action in coordinator.actions())
    for second in range(8):
        coordinator.tick(3600.25 + second)
    assert coordinator.counters.timeouts == 1


def test_a_sick_engine_is_replaced_and_only_the_image_that_sickens_every_one_fails() -> None:
    cell = SimulatedCell(split_plan(), Behaviour(sickens={"k00010": "detect"}))
    cell.run(shards_of(64))
    assert reasons(cell) == {"k00010": Reason.INTERNAL_ERROR}
    assert cell.coordinator.counters.deaths >= 2
    assert_clean(cell)


def test_lost_payloads_send_their_images_back_to_the_fetch() -> None:
    cell = SimulatedCell(split_plan(), Behaviour(random_losses=0.05, fan_out=lambda key: 2), seed=5)
    cell.run(shards_of(400))
    assert len(cell.outcomes) == 400
    assert sum(outcome.facts.attempts["fetch"] > 1 for outcome in cell.outcomes.values()) > 0
    assert_clean(cell)


def test_an_image_whose_data_is_lost_again_and_again_ends_as_a_failure() -> None:
    cell = SimulatedCell(fused_plan(), Behaviour(random_losses=1.0))
    cell.run(shards_of(5))
    assert set(reasons(cell).values()) == {Reason.INTERNAL_ERROR}
    assert cell.outcomes["k00000"].facts.attempts["fetch"] == 4
    assert_clean(cell)


def test_a_worker_that_never_starts_ends_the_job_and_not_the_machine() -> None:
    cell = SimulatedCell(fused_plan(1), Behaviour(start_failures=1000))
    with pytest.raises(BrokenStageError, match="3 times in a row: RuntimeError: no"):
        cell.run(shards_of(5))


def test_a_worker_that_starts_at_the_second_try_is_fine() -> None:
    cell = SimulatedCell(fused_plan(1), Behaviour(start_failures=2))
    cell.run(shards_of(5))
    assert len(cell.outcomes) == 5


def test_workers_that_die_on_everything_end_the_job() -> None:
    cell = SimulatedCell(fused_plan(1), Behaviour(kills={f"k{i:05d}": "cut" for i in range(300)}))
    with pytest.raises(BrokenStageError, match="24 workers were lost in a row"):
        cell.run(shards_of(300))


def test_a_stage_that_raises_on_everything_ends_the_job() -> None:
    cell = SimulatedCell(fused_plan(1), Behaviour(raises={f"k{i:05d}": "cut" for i in range(300)}))
    with pytest.raises(BrokenStageError, match="failed on 100 images in a row, lastly with: ValueError: bad"):
        cell.run(shards_of(300))


def test_a_small_gate_still_lets_large_images_through_one_by_one() -> None:
    plan = fused_plan(2, gate_bytes=1_000_000, largest=300_000_000)
    cell = SimulatedCell(plan, Behaviour(decoded=lambda key: 50_000_000))
    cell.run(shards_of(30))
    assert len(cell.outcomes) == 30
    assert_clean(cell)


def test_payloads_are_bounded_by_the_store() -> None:
    plan = fused_plan(2, gate_bytes=10**12, store_bytes=10_000_000)
    cell = SimulatedCell(plan, Behaviour(payload_bytes=100_000, decoded=lambda key: 1000))
    cell.run(shards_of(2000))
    # Above the limit only by the outputs of calls that were under way: two each of the workers, of 32 images.
    workers = sum(stage.workers for stage in plan.stages)
    assert cell.coordinator.gate.peak_stored <= 10_000_000 + workers * 2 * 32 * 100_000
    assert_clean(cell)


@PLANS
def test_a_drained_cell_finishes_what_is_in_flight_and_tells_what_ended(plan: CellPlan) -> None:
    cell = SimulatedCell(plan, Behaviour(), seed=2)
    cell.run(shards_of(2000, 256), drain_at=3.0)
    parts = cell.coordinator.finished_parts()
    ended = len(cell.outcomes) + sum(len(outcomes) for _, outcomes in parts)
    assert 0 < ended < 2000
    assert ended == cell.coordinator.ended
    assert cell.coordinator.in_flight == 0
    assert_clean(cell)


def test_pools_grow_and_shrink_to_their_target() -> None:
    cell = SimulatedCell(fused_plan(2), Behaviour())
    cell.coordinator.resize({"cut": 5})
    cell.run(shards_of(200))
    assert len(cell.coordinator.pools["cut"].workers) == 5
    cell.coordinator.resize({"cut": 1})
    cell.run(
        [make_shard(refs(300)[200:])],
    )
    assert len(cell.coordinator.pools["cut"].workers) == 1


def test_batches_grow_with_the_speed_of_a_stage() -> None:
    speeds = {"fetch": 0.001, "cut": 0.5, "store": 0.001}
    cell = SimulatedCell(fused_plan(2), Behaviour(seconds=lambda stage, rng: speeds[stage]))
    cell.run(shards_of(60))
    assert max(cell.batches["cut"]) == 1, "half a second an image: one a call"
    speeds["cut"] = 0.001
    cell = SimulatedCell(fused_plan(2), Behaviour(seconds=lambda stage, rng: speeds[stage]))
    cell.run(shards_of(4000))
    assert sorted(cell.batches["cut"])[len(cell.batches["cut"]) // 2] == 32, "a millisecond an image: full batches"


def test_slow_networks_hold_few_images_in_flight_so_that_a_drain_is_short() -> None:
    speeds = {"fetch": 0.01, "cut": 0.5, "store": 0.01}
    cell = SimulatedCell(fused_plan(2), Behaviour(seconds=lambda stage, rng: speeds[stage]))
    cell.run(shards_of(500), drain_at=30.0)
    assert cell.now < 30.0 + 8.0


def test_a_second_outcome_for_an_image_raises() -> None:
    coordinator = Coordinator(fused_plan(), 0.0)
    home = OpenShard(make_shard(refs(2)))
    permit = Gate(1000, largest=1000).try_admit(1)
    assert permit is not None
    image = Image(home.shard.refs[0], home, permit)
    coordinator.finish(image, Matte("a.png", 1))
    with pytest.raises(FinishedTwiceError, match="k00000 has ended already"):
        coordinator.finish(image, Failure(Reason.NO_SUBJECT, "detect", "none"))


def test_a_shard_with_a_key_twice_is_refused() -> None:
    coordinator = Coordinator(fused_plan(), 0.0)
    with pytest.raises(ValueError, match="same key twice"):
        coordinator.offer(Shard("s", (*refs(3), refs(1)[0])))


def test_a_plan_names_the_stages_in_order() -> None:
    with pytest.raises(ValueError, match="must be"):
        CellPlan(stages=(StagePlan("store", 1), StagePlan("fetch", 1)), gate_bytes=1)
