"""The driver's loop when cells die, nodes join and leave, and the job is stopped; without Ray."""

from __future__ import annotations

import pytest
from simulated_crew import Run, SimulatedCrew, Source, make_run

from mattemill.cluster.cells.cells_loop import MOST_DEATHS
from mattemill.cluster.cells.driver_desk import DriverDesk
from mattemill.cluster.cells.messages import Report
from mattemill.cluster.errors import BrokenStageError

LEASE = 10.0


def over(monkeypatch: pytest.MonkeyPatch, *nodes: str, images: int = 400) -> Run:
    return make_run(monkeypatch, SimulatedCrew(LEASE, *nodes), Source(images, 8), LEASE)


def assert_each_key_once(run: Run) -> None:
    assert len(run.rows.rows) == run.source.images
    assert set(run.rows.rows.values()) == {1}


def test_a_cell_that_dies_while_its_node_lives_is_replaced_there_and_its_shards_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = over(monkeypatch, "a", "b")
    run.crew.at(7.0, lambda: run.crew.kill_cell_on("a"))

    run.loop.run()

    assert_each_key_once(run)
    assert sorted(run.crew.started) == ["a", "a", "b"]
    assert run.loop.cells_lost == 1
    assert run.loop.desk.lost > 0, "the cell that died had nothing to do"


def test_a_dead_cells_shards_are_leased_again_at_once_and_not_when_the_lease_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = over(monkeypatch, "a", "b")
    seen: list[tuple[int, int]] = []
    run.crew.at(7.0, lambda: run.crew.kill_cell_on("a"))
    run.crew.at(8.0, lambda: seen.append((run.loop.desk.lost, len(run.loop.desk.table.owners()))))

    run.loop.run()

    ((lost, owners),) = seen
    assert lost > 0
    assert owners == len(("b",))


def test_a_node_whose_cells_die_again_and_again_gets_no_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = over(monkeypatch, "a", "b")
    for seconds in range(1, 60):
        run.crew.at(float(seconds), lambda: run.crew.kill_cell_on("a"))

    run.loop.run()

    assert_each_key_once(run)
    assert run.crew.started.count("a") == MOST_DEATHS
    assert run.crew.started.count("b") == 1


def test_a_node_that_cannot_make_these_mattes_is_asked_once_and_the_others_do_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = over(monkeypatch, "a", "b")
    run.crew.fails_to_start["a"] = True

    run.loop.run()

    assert_each_key_once(run)
    assert run.crew.started.count("a") == 1
    assert run.crew.shards_by_node["a"] == 0


def test_when_no_node_can_work_the_job_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    run = over(monkeypatch, "a", "b")
    run.crew.fails_to_start.update(a=True, b=True)

    with pytest.raises(BrokenStageError, match="no network here"):
        run.loop.run()

    assert run.source.taken == 0


def test_a_node_that_joins_in_the_middle_gets_a_cell_and_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulated_crew import node

    run = over(monkeypatch, "a")
    before: list[int] = []

    def join() -> None:
        before.append(sum(run.rows.rows.values()))
        run.crew.live["b"] = node("b")

    run.crew.at(20.0, join)

    run.loop.run()

    assert_each_key_once(run)
    assert 0 < before[0] < run.source.images
    assert run.crew.started == ["a", "b"]
    assert run.crew.shards_by_node["b"] > 5
    assert run.loop.desk.lost == 0


def test_a_node_that_gets_a_spot_notice_finishes_what_is_in_flight_and_hands_the_rest_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = over(monkeypatch, "a", "b")
    done_by_a: list[int] = []
    run.crew.at(9.0, lambda: run.crew.draining.add("a"))
    run.crew.at(15.0, lambda: done_by_a.append(run.crew.shards_by_node["a"]))

    run.loop.run()

    assert_each_key_once(run)
    assert run.crew.started == ["a", "b"], "a node that ends got a cell again"
    assert run.crew.shards_by_node["a"] == done_by_a[0] > 0
    assert run.loop.cells_lost == 0


def test_a_stop_drains_every_cell_and_commits_what_has_ended_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = over(monkeypatch, "a", "b", "c")
    at_stop: list[tuple[int, int]] = []

    def stop() -> None:
        at_stop.append((run.source.taken, sum(run.rows.rows.values())))
        run.stop.set()

    run.crew.at(11.0, stop)

    run.loop.run()

    ((taken, committed),) = at_stop
    assert run.loop.drained
    assert run.source.taken <= taken + 8, "shards were cut from the source after the stop"
    assert set(run.rows.rows.values()) == {1}
    parts = sum(run.rows.rows.values()) - committed
    assert parts >= 3 * 4, "half of what each of the three cells had in flight was to be committed"
    assert sum(run.rows.rows.values()) < run.source.taken, "nothing was given back: what then did the drain stop?"
    assert run.crew.now < 1000.0 + 11.0 + 5.0, "the cells were drained one after another"


def test_draining_one_of_several_cells_leaves_the_others_their_shards() -> None:
    source = Source(80, 8)
    desk = DriverDesk(LEASE)
    for cell in ("a", "b"):
        desk.joined(cell, 0.0)
        orders = desk.orders(cell, 0.0, source.take)
        desk.reported(cell, Report(0, orders.seq, wants=2), 0.1)
        assert len(desk.orders(cell, 0.2, source.take).shards) == 2
    desk.drain("a")
    left = Report(0, desk.seats["a"].seq, drained=True)

    assert desk.reported("a", left, 0.3) == []
    orders = desk.orders("a", 0.4, source.take)

    assert orders.drain
    assert orders.shards == ()
    assert len(desk.table.leased_to("b#0")) == 2
    assert desk.table.open == 4, "what the drained cell gave back is not lost"


def test_a_cell_that_joins_late_is_given_what_came_back_before_what_is_new() -> None:
    source = Source(80, 8)
    desk = DriverDesk(LEASE)
    desk.joined("a", 0.0)
    desk.reported("a", Report(0, desk.orders("a", 0.0, source.take).seq, wants=2), 0.1)
    lost = desk.orders("a", 0.2, source.take).shards
    desk.gone("a", sure=True)

    desk.joined("b", 3.0)
    desk.reported("b", Report(0, desk.orders("b", 3.0, source.take).seq, wants=3), 3.1)
    given = desk.orders("b", 3.2, source.take).shards

    assert {shard.id for shard in given[:2]} == {shard.id for shard in lost}
    assert given[2].id not in {shard.id for shard in lost}
    assert desk.lost == 2
