"""Cells of a service: who gets shards, whether more are wanted, and what is told of cells that are not heard of."""

from __future__ import annotations

import pytest
from simulated_crew import Run, SimulatedCrew, Source, make_run

LEASE = 6.0


def run_of(monkeypatch: pytest.MonkeyPatch, images: int = 160, *, ready_first: bool = True) -> Run:
    return make_run(monkeypatch, SimulatedCrew(LEASE, "a", "b"), Source(images, 8), LEASE, ready_first=ready_first)


@pytest.mark.parametrize("ready_first", [True, False])
def test_a_cell_of_a_service_gets_no_shard_before_its_workers_are_up(
    ready_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(monkeypatch, ready_first=ready_first)
    run.crew.workers_up_at["b"] = run.crew.now + 15.0
    got: list[int] = []
    run.crew.at(14.5, lambda: got.append(run.crew.shards_by_node["b"]))
    run.loop.run()
    assert run.loop.desk.table.open == 0
    assert set(run.rows.rows.values()) == {1}
    assert len(run.rows.rows) == 160
    assert (got == [0]) == ready_first
    assert run.crew.shards_by_node["b"] > 0, "it never worked, also not once its workers were up"


def test_shards_are_wanted_while_a_cell_with_workers_wants_some_and_the_loop_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_of(monkeypatch)
    run.crew.workers_up_at = {"a": run.crew.now + 5.0, "b": run.crew.now + 1000.0}
    seen: dict[float, tuple[bool, bool]] = {}

    def look(at: float) -> None:
        # Between a report and the orders that follow it nobody asks: the shards are handed out in the same turn.
        up = any(seat.state.has_workers for seat in run.loop.desk.seats.values())
        seen[at] = (run.loop.wants_shards(workers_up=True), up)

    for at in (1.0, 4.0):
        run.crew.at(at, lambda at=at: look(at))  # type: ignore[misc]
    run.loop.run()
    assert seen == {1.0: (False, False), 4.0: (False, False)}
    for seat in run.loop.desk.seats.values():
        seat.wants = 2
    assert not run.loop.wants_shards(workers_up=True), "the loop has ended: what came now could only be given back"
    run.loop._over = False
    assert run.loop.wants_shards(workers_up=True)


def test_of_a_silent_cell_only_what_it_did_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(monkeypatch)
    told: list[tuple[int, int, int]] = []

    def hang() -> None:
        for cell in run.crew.cells_on("b"):
            run.crew._processes.pop(cell)  # no answer, and nobody says that it is gone

    def look() -> None:
        (stage,) = run.loop.stages()
        crew = run.loop.figures().crew
        assert crew is not None
        told.append((crew.silent, stage.running, stage.workers))

    run.crew.at(5.0, hang)
    run.crew.at(5.0 + LEASE + 2.0, look)
    run.loop.run()
    assert told == [(1, 1, 1)], "one silent, and one that works"
    assert set(run.rows.rows.values()) == {1}
    figures = run.loop.figures()
    assert figures.crew is not None
    assert figures.crew.came_back == 160
