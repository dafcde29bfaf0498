"""Whether a graph pays, from host and device times: with a clock that is set by hand."""

from __future__ import annotations

import itertools

import pytest

from mattemill.pipeline.engines.graph_trial import ROUNDS, Cost, GraphTrial, judge


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tried(eager: Cost, graph: Cost) -> GraphTrial:
    """A trial in which every pass of a way costs the same."""
    clock = Clock()
    trial = GraphTrial(clock)
    while not trial.over:
        with trial.putting() as way:
            cost = eager if way == "eager" else graph
            clock.now += cost.host
        trial.took(cost.device)
    return trial


@pytest.mark.parametrize(
    ("graph", "pays"),
    [
        (Cost(10e-6, 1.0), True),
        (Cost(10e-6, 0.7), True),
        (Cost(10e-6, 1.015), True),  # within what two runs of the same differ by
        (Cost(10e-6, 1.05), False),  # the device takes longer
        (Cost(95e-6, 1.0), False),  # saves too little to be worth its memory
        (Cost(120e-6, 0.9), False),  # the host takes longer
    ],
)
def test_a_graph_pays_when_it_spares_the_host_and_the_device_takes_no_longer(graph: Cost, pays: bool) -> None:
    verdict = tried(Cost(100e-6, 1.0), graph).verdict()
    assert verdict.pays is pays
    assert (verdict.eager.host, verdict.graph.device) == (pytest.approx(100e-6), graph.device)


def test_the_ways_take_turns_and_the_first_pass_of_each_does_not_count() -> None:
    clock = Clock()
    trial = GraphTrial(clock)
    ways = []
    for number in itertools.count():
        if trial.over:
            break
        with trial.putting() as way:
            clock.now += 9.0 if number < 2 else {"eager": 2e-6, "graph": 1e-6}[way]
        trial.took(9.0 if number < 2 else 1.0)
        ways.append(way)
    assert ways == ["eager", "graph"] * (ROUNDS + 1)
    assert trial.verdict().eager == Cost(pytest.approx(2e-6), 1.0)  # type: ignore[arg-type]


def test_a_pass_that_was_held_up_does_not_decide() -> None:
    eager = [Cost(100e-6, 1.0)] * 5
    graph = [Cost(10e-6, 1.0)] * 3 + [Cost(1.0, 50.0)] * 2
    assert judge(eager, graph).pays


def test_a_pass_that_failed_does_not_count_and_its_turn_comes_again() -> None:
    trial = GraphTrial(Clock())
    with pytest.raises(OSError, match="refused"), trial.putting() as way:
        raise OSError("refused")
    assert not trial.waits
    with trial.putting() as again:
        assert again == way


def test_it_is_not_asked_out_of_turn() -> None:
    trial = GraphTrial(Clock())
    with pytest.raises(ValueError, match="no pass"):
        trial.took(1.0)
    with pytest.raises(ValueError, match="no verdict"):
        trial.verdict()
    with trial.putting():
        pass
    assert trial.waits
    with pytest.raises(ValueError, match="no device time yet"), trial.putting():
        pass
