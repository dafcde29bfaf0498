"""What the metrics say of a simulated cell, and what is sent of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from mattemill.cluster.actions import FUSED, Call, CellPlan, Passed, Reply, StagePlan, StartWorker
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.metrics.catalogue import BY_NAME, CATALOGUE
from mattemill.cluster.metrics.cell_figures import CellFigures, CrewFigures, StageFigures, figures_of, joined
from mattemill.cluster.metrics.figures import Around, Value, values
from mattemill.cluster.metrics.publish import Publisher
from mattemill.cluster.progress import Progress
from mattemill.pipeline.events.stats import EventStats
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.storage.retry import FaultCounts
from mattemill.pipeline.storage.s3_client import meaning_of_answer

ALL = Around(7, 1, 0, 3, 2.5, {"throttled": 2}, 3.0)
EVENTS = EventStats(received=9, backlog_age=4.0, latency_p50=1.0, latency_p95=2.0, latency_max=3.0)


def cell() -> Coordinator:
    """Four images fetched by one call, of which one failed; the three others wait for a worker of `cut`."""
    plan = CellPlan(stages=tuple(StagePlan(name, 1, 8, 4) for name in FUSED), gate_bytes=10**9)
    coordinator = Coordinator(plan, 0.0, fetch_batch=4)
    coordinator.offer(make_shard([ImageRef(f"k{i}", f"file:///k{i}", "e", 1000) for i in range(4)]))
    coordinator.source_done()
    for action in list(coordinator.actions()):
        if isinstance(action, StartWorker) and action.stage == "fetch":
            coordinator.worker_ready(action.worker, "fetch", "cpu")
    (call,) = [action for action in coordinator.actions() if isinstance(action, Call)]
    coordinator.at(1.0)
    results: list[Any] = [Failure(Reason.MISSING, "fetch", "gone")]
    results += [Passed(Facts(), 1, 2_000_000) for _ in call.items[1:]]
    reply = Reply(results, 0.5, 0.1, 3000, "node:1", "cpu", {"server": 1})
    coordinator.replied(call.id, reply, object())
    return coordinator


def progress(done: int = 1, events: EventStats | None = None, seconds: float = 1800.0) -> Progress:
    return Progress(done, 1, 4, 0.0, seconds, None, events=events)


def found(around: Around = ALL, events: EventStats | None = EVENTS) -> dict[tuple[str, ...], float]:
    seen = values(progress(events=events), figures_of(cell(), 3.0), around)
    return {(value.name.removeprefix("mattemill_"), *value.labels.values()): value.value for value in seen}


def test_images_are_counted_by_outcome_and_reason() -> None:
    now = found()
    assert now["images", "matte", ""] == 0
    assert now["images", "failure", "missing"] == 1
    assert now["images_left",] == 3


def test_a_stage_tells_its_calls_its_queue_and_how_long_it_was_busy() -> None:
    now = found()
    assert now["stage_call_items", "fetch"] == 4
    assert now["stage_calls", "fetch"] == 1
    assert now["stage_busy_seconds", "fetch", "cpu"] == 0.5
    assert now["stage_queued", "cut"] == 3
    assert now["stage_queue_bytes", "cut"] == 6_000_000
    assert now["stage_queue_age_seconds", "cut"] == pytest.approx(2.0)
    assert now["stage_queue_age_seconds", "store"] == 0.0


def test_failed_tries_at_the_store_are_those_of_workers_and_driver() -> None:
    now = found()
    assert now["store_errors", "server"] == 1
    assert now["store_errors", "throttled"] == 2
    assert now["store_errors", "network"] == 0


def test_half_an_hour_at_three_an_hour_costs_one_and_a_half_and_no_price_no_metric() -> None:
    assert found()["cost",] == pytest.approx(1.5)
    assert ("cost",) not in found(Around())


def test_a_job_without_a_queue_tells_of_none() -> None:
    assert found()["backlog_age_seconds",] == 4.0
    assert found()["event_to_matte_seconds", "0.95"] == 2.0
    assert not any(key[0].startswith(("queue_", "backlog", "event")) for key in found(events=None))


def test_every_metric_of_the_catalogue_gets_a_value_with_its_labels_and_no_other_is_sent() -> None:
    several = replace(figures_of(cell(), 3.0), crew=CrewFigures(2, 1, 1))
    seen = list(values(progress(events=EVENTS), several, ALL))
    assert {value.name for value in seen} == BY_NAME.keys()
    assert all(tuple(value.labels) == BY_NAME[value.name].labels for value in seen)
    assert len(BY_NAME) == len(CATALOGUE)


def test_a_job_in_one_cell_tells_of_no_cells() -> None:
    assert not {"cells", "cells_lost", "shards_leased_again", "cell_silence_seconds"} & {key[0] for key in found()}


def test_cells_are_summed_and_of_those_that_are_gone_only_what_they_did() -> None:
    one, other, gone = (figures_of(cell(), now) for now in (3.0, 5.0, 9.0))
    both = joined([one, other], [gone])
    assert both.failed == {"missing": 3}
    assert both.ended == 3
    assert both.in_flight == 2 * one.in_flight == 6
    assert both.gate_capacity == 2 * one.gate_capacity
    assert both.store_errors == {"server": 3}
    fetch, cut = both.stages["fetch"], both.stages["cut"]
    assert (fetch.items, fetch.calls, fetch.call_items, fetch.busy_seconds) == (12, 3, 12, 1.5)
    assert fetch.batch_size == one.stages["fetch"].batch_size
    assert (cut.queued, cut.queue_bytes) == (6, 12_000_000)
    assert cut.queue_age == pytest.approx(4.0), "the longest wait of all"
    assert joined([one]) == one
    assert joined([]) == CellFigures()


def test_what_is_gone_keeps_its_place_in_the_counters_of_a_stage() -> None:
    gone = CellFigures(stages={"cut": StageFigures(items=7, workers=2, device="cuda")})
    assert joined([], [gone]).stages == {"cut": StageFigures(items=7, device="cuda")}


def test_nothing_is_sent_before_there_is_a_cell() -> None:
    kept = Kept()
    publish = Publisher(lambda: None, lambda spilled: Around(), kept)
    publish(progress())
    assert kept.sent == []


class Kept:
    """A sink that keeps what it is sent, or breaks."""

    def __init__(self, breaks: bool = False) -> None:
        self.sent: list[list[Value]] = []
        self.breaks = breaks

    def send(self, found: Iterable[Value]) -> None:
        self.sent.append(list(found))
        if self.breaks:
            raise RuntimeError("no Ray")


def publisher(kept: Kept, clock: list[float]) -> Publisher:
    return Publisher(
        lambda: figures_of(cell(), clock[0]), lambda spilled: Around(spilled=spilled), kept, clock=lambda: clock[0]
    )


def test_it_is_told_twice_a_second_and_sends_every_other_second_and_once_more_at_the_end() -> None:
    kept, clock = Kept(), [0.0]
    publish = publisher(kept, clock)
    for tick in range(8):
        clock[0] = tick / 2
        publish(progress())
    assert len(kept.sent) == 2
    publish(progress(done=4))
    assert len(kept.sent) == 3


def test_metrics_that_break_end_and_the_job_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    kept, clock = Kept(breaks=True), [0.0]
    publish = publisher(kept, clock)
    for _ in range(3):
        publish(progress())
        clock[0] += 10
    assert len(kept.sent) == 1
    assert caplog.text.count("metrics end") == 1


def test_a_store_that_says_slow_down_throttles_and_another_error_does_not() -> None:
    kinds = [
        getattr(meaning_of_answer(status, code, "", "k", "e"), "kind", None)
        for status, code in ((503, "SlowDown"), (500, "InternalError"), (429, ""), (404, "NoSuchKey"))
    ]
    assert kinds == ["throttled", "server", "throttled", None]


def test_fault_counts_begin_anew_when_they_are_taken() -> None:
    counts = FaultCounts()
    counts.note("server")
    counts.note("server")
    assert counts.take() == {"server": 2}
    assert counts.take() == {}


def test_the_metrics_are_told_without_ray_being_imported() -> None:
    code = "import sys, mattemill.cluster.metrics.watch; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
