"""Cores that are shared: the work of all jobs is done, at the rate of the cores."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattemill.cluster.planning.shared_cores import SharedCores


def run(capacity: float, jobs: list[tuple[float, float]]) -> tuple[list[float], float]:
    """(the end of each job, core seconds used) of jobs (begin, work)."""
    cores = SharedCores(capacity)
    ends = [math.nan] * len(jobs)
    ended: list[int] = []
    coming = sorted(range(len(jobs)), key=lambda job: jobs[job][0])
    while coming or len(cores):
        arrival = jobs[coming[0]][0] if coming else math.inf
        now = min(arrival, cores.next_end())
        if arrival <= cores.next_end():
            job = coming.pop(0)
            cores.add(now, jobs[job][1], partial(ended.append, job))
        else:
            cores.pop(now)()
            ends[ended[-1]] = now
    return ends, cores.busy


def test_fewer_jobs_than_cores_run_as_if_alone():
    assert run(4, [(0.0, 1.0), (0.5, 2.0)])[0] == pytest.approx([1.0, 2.5])


def test_two_jobs_on_one_core_take_twice_as_long():
    assert run(1, [(0.0, 1.0), (0.0, 1.0)])[0] == pytest.approx([2.0, 2.0])


def test_a_job_that_comes_later_slows_the_other_from_then_on():
    # Alone for 1 s, then half speed each: the first has 1 left, which takes 2 s.
    assert run(1, [(0.0, 2.0), (1.0, 4.0)])[0] == pytest.approx([3.0, 6.0])


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 8.0), st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.001, 5.0)), min_size=1, max_size=12))
def test_no_work_is_lost_and_no_core_works_twice(capacity: float, jobs: list[tuple[float, float]]):
    ends, busy = run(capacity, jobs)
    whole = sum(work for _, work in jobs)
    assert busy == pytest.approx(whole, rel=1e-6)
    assert all(
        end >= (begin + work / min(1.0, capacity)) * (1 - 1e-9) for end, (begin, work) in zip(ends, jobs, strict=True)
    )
    assert max(ends) >= min(begin for begin, _ in jobs) + whole / capacity - 1e-6
    assert max(ends) <= max(begin for begin, _ in jobs) + whole / min(1.0, capacity) + 1e-6
