"""The byte gate: what it admits, what it charges, what it gives back."""

from __future__ import annotations

import pytest

from mattemill.cluster.gate import FIRST_RATIO, Gate

MB = 10**6


def test_an_image_is_charged_an_estimate_and_then_its_true_size() -> None:
    gate = Gate(100 * MB, largest=300 * MB)
    permit = gate.try_admit(1 * MB)
    assert permit is not None
    assert gate.held == int(FIRST_RATIO * MB)
    permit.correct(20 * MB)
    assert gate.held == 20 * MB
    permit.finish()
    assert (gate.held, gate.permits) == (0, 0)


def test_nothing_more_is_admitted_when_the_gate_is_full() -> None:
    gate = Gate(30 * MB, largest=300 * MB)
    first, second, third = (gate.try_admit(1 * MB) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is None
    first.finish()
    assert gate.try_admit(1 * MB) is not None


def test_an_overdraft_stops_admission_until_it_is_worked_off() -> None:
    gate = Gate(40 * MB, largest=300 * MB)
    a, b = gate.try_admit(1 * MB), gate.try_admit(1 * MB)
    assert a is not None
    assert b is not None
    a.correct(50 * MB)
    assert gate.held > gate.capacity
    assert gate.try_admit(1) is None
    a.finish()
    assert gate.try_admit(1) is not None


def test_an_image_larger_than_the_gate_is_admitted_alone() -> None:
    gate = Gate(10 * MB, largest=300 * MB)
    small = gate.try_admit(10_000)
    assert small is not None
    assert gate.try_admit(20 * MB) is None
    small.finish()
    large = gate.try_admit(20 * MB)
    assert large is not None
    assert gate.try_admit(1) is None


def test_the_ratio_is_learnt_and_bounded_by_the_largest_image() -> None:
    gate = Gate(10**12, largest=300 * MB)
    for _ in range(100):
        permit = gate.try_admit(1 * MB)
        assert permit is not None
        permit.correct(40 * MB)
        permit.finish()
    assert gate.estimate(1 * MB) == pytest.approx(40 * MB, rel=0.01)
    assert gate.estimate(None) == pytest.approx(40 * MB, rel=0.01)
    assert gate.estimate(10**9) == 300 * MB


def test_a_small_file_is_charged_the_least_so_that_icons_are_not_admitted_by_the_million() -> None:
    gate = Gate(100 * MB, largest=300 * MB)
    assert gate.estimate(1) == gate.smallest > 0


def test_credits_are_given_back_once() -> None:
    gate = Gate(100 * MB, largest=300 * MB)
    permit = gate.try_admit(1)
    assert permit is not None
    permit.finish()
    with pytest.raises(RuntimeError, match="given back already"):
        permit.finish()
    with pytest.raises(RuntimeError, match="cannot be corrected"):
        permit.correct(5)
    assert gate.held == 0


def test_a_permit_cannot_leak_out_of_its_block() -> None:
    gate = Gate(100 * MB, largest=300 * MB)
    permit = gate.try_admit(1)
    assert permit is not None
    with pytest.raises(ZeroDivisionError), permit:
        raise ZeroDivisionError
    assert (gate.held, gate.permits) == (0, 0)


def test_full_payloads_stop_admission_but_never_the_only_image() -> None:
    gate = Gate(100 * MB, largest=300 * MB, store_capacity=10)
    first = gate.try_admit(1)
    assert first is not None
    gate.keep(10)
    assert gate.try_admit(1) is None
    first.finish()
    assert gate.try_admit(1) is not None
