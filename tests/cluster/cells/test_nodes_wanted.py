"""What an autoscaler is asked for while a job over many nodes runs; without Ray."""

from __future__ import annotations

import pytest
from simulated_crew import SimulatedCrew, Source, make_run, node

from mattemill.pipeline.errors import JobStalledError

LEASE = 10.0


def test_a_cluster_without_nodes_is_asked_for_the_first_one_and_the_job_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crew = SimulatedCrew(LEASE)
    run = make_run(monkeypatch, crew, Source(40, 8), LEASE)
    crew.at(30.0, lambda: crew.live.update(a=node("a")))

    run.loop.run()

    assert set(run.rows.rows.values()) == {1}
    assert len(run.rows.rows) == run.source.images
    assert crew.asked_for == [(1, 1, 0), (0, 2, 0)]
    assert any(note.note.startswith("waiting for a node") for note in run.notes)
    assert not run.notes[-1].note.startswith("waiting for a node")


def test_nodes_that_were_wanted_are_asked_for_until_they_are_there_and_again_when_one_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crew = SimulatedCrew(LEASE, "a")
    run = make_run(monkeypatch, crew, Source(600, 8), LEASE, nodes=3)
    crew.at(10.0, lambda: crew.live.update(b=node("b"), c=node("c")))
    crew.at(20.0, lambda: (crew.live.pop("b"), crew.kill_cell_on("b")))

    run.loop.run()

    assert set(run.rows.rows.values()) == {1}
    assert crew.asked_for == [(2, 2, 0), (0, 2, 0), (1, 2, 0), (0, 2, 0)], "the last: nothing is left to be done"


def test_without_the_setting_a_cluster_that_has_a_node_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(monkeypatch, SimulatedCrew(LEASE, "a"), Source(40, 8), LEASE)

    run.loop.run()

    assert run.crew.asked_for == [(0, 2, 0)]


def test_a_job_to_which_no_node_comes_ends_and_says_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(monkeypatch, SimulatedCrew(LEASE), Source(40, 8), LEASE)

    with pytest.raises(JobStalledError, match=r"no node of the Ray cluster has offered a CPU for 1\d\d s.*ray status"):
        run.loop.run()
