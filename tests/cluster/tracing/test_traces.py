"""What is written down of a traced image, in a simulated cell."""

from __future__ import annotations

from itertools import pairwise

import pytest
from simulated_cell import Behaviour, SimulatedCell, fused_plan, shards_of, split_plan

from mattemill.cluster.actions import CellPlan
from mattemill.cluster.quick_pickle import pack, unpack
from mattemill.cluster.tracing.traces import Traces, is_traced
from mattemill.pipeline.outcome import Failure, Outcome, Trace
from mattemill.pipeline.reasons import Reason

EPOCH = 1_790_000_000.0


def run(plan: CellPlan, behaviour: Behaviour, images: int = 60, share: float = 1.0) -> dict[str, Outcome]:
    cell = SimulatedCell(plan, behaviour, traces=Traces(share, EPOCH))
    cell.run(shards_of(images))
    return cell.outcomes


def trace_of(outcome: Outcome) -> Trace:
    assert outcome.facts.trace is not None
    return outcome.facts.trace


def test_a_share_of_the_keys_is_traced_and_always_the_same_ones() -> None:
    keys = [f"photo-{i}.jpg" for i in range(20_000)]
    tenth = {key for key in keys if is_traced(key, 0.1)}
    assert len(tenth) == pytest.approx(2000, rel=0.1)
    assert tenth <= {key for key in keys if is_traced(key, 0.2)}
    assert all(is_traced(key, 1.0) for key in keys)
    assert not any(is_traced(key, 0.0) for key in keys)
    assert is_traced("not UTF-8 \udcff", 1.0)


def test_only_the_sampled_images_carry_a_trace() -> None:
    outcomes = run(split_plan(), Behaviour(), images=400, share=0.05)
    traced = {key for key, outcome in outcomes.items() if outcome.facts.trace is not None}
    assert traced == {key for key in outcomes if is_traced(key, 0.05)}
    assert 5 < len(traced) < 50


def test_without_traces_nobody_carries_one() -> None:
    cell = SimulatedCell(split_plan(), Behaviour())
    cell.run(shards_of(40))
    assert all(outcome.facts.trace is None for outcome in cell.outcomes.values())


def test_every_call_that_held_an_image_is_in_its_trace_in_the_order_of_the_stages() -> None:
    for outcome in run(split_plan(), Behaviour(fan_out=lambda key: 3)).values():
        trace = trace_of(outcome)
        assert [call.stage for call in trace.calls] == ["fetch", "detect", *["segment"] * 3, "matte", "store"]
        assert sorted(call.crop for call in trace.calls if call.crop is not None) == [0, 1, 2]
        assert EPOCH <= trace.admitted <= trace.calls[0].began
        assert trace.calls[-1].ended == trace.ended
        for call in trace.calls:
            assert call.began <= call.ended
            assert (call.attempt, call.fault) == (1, "")
            assert call.worker
            assert call.device
            assert call.items >= 1
        one_by_one = [call for call in trace.calls if call.stage != "segment"]
        assert all(a.ended <= b.began + 1e-6 for a, b in pairwise(one_by_one))


def test_a_call_that_died_is_in_the_trace_with_what_went_wrong() -> None:
    outcomes = run(fused_plan(), Behaviour(kills={"k00007": "cut"}))
    outcome = outcomes["k00007"]
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.WORKER_DIED
    calls = [call for call in trace_of(outcome).calls if call.stage == "cut"]
    assert len(calls) >= 2
    assert {call.fault for call in calls} <= {"died", "requeued"}
    assert calls[-1].fault == "died"
    assert [call.attempt for call in calls] == list(range(1, len(calls) + 1))
    assert calls[-1].items == 1, "the last one was alone"


def test_a_call_that_raised_or_hung_is_in_the_trace() -> None:
    behaviour = Behaviour(raises={"k00003": "cut"}, hangs={"k00009": "cut"})
    outcomes = run(fused_plan(call_timeout=5.0), behaviour)
    faults = {call.fault for key in ("k00003", "k00009") for call in trace_of(outcomes[key]).calls}
    assert {"raised", "timed_out"} <= faults
    hung = [call for call in trace_of(outcomes["k00009"]).calls if call.fault == "timed_out"]
    assert hung[-1].ended - hung[-1].began >= 5.0


def test_an_image_that_is_fetched_again_has_both_journeys() -> None:
    outcomes = run(split_plan(), Behaviour(random_losses=0.05), images=200)
    traces = [trace_of(outcome) for outcome in outcomes.values()]
    again = [trace for trace in traces if any(call.fault == "lost" for call in trace.calls)]
    assert again
    for trace in again:
        assert sum(call.stage == "fetch" for call in trace.calls) >= 2


def test_a_trace_crosses_processes() -> None:
    outcome = run(split_plan(), Behaviour())["k00000"]
    assert unpack(pack(outcome)) == outcome
