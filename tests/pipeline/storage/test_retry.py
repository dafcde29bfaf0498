from __future__ import annotations

import pytest

from mattemill.pipeline.errors import ForbiddenError, StoreUnavailableError
from mattemill.pipeline.storage.retry import RetryPolicy, TransientError, retried


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def failing(times: int, clock: Clock, seconds: float = 0.0):  # type: ignore[no-untyped-def]
    calls = []

    def call() -> str:
        calls.append(1)
        clock.now += seconds
        if len(calls) <= times:
            raise TransientError("503")
        return "done"

    return call, calls


def test_a_call_that_recovers_gives_its_result() -> None:
    clock = Clock()
    call, calls = failing(2, clock)

    assert retried(RetryPolicy(tries=3), "x", call, sleep=clock.sleep, clock=lambda: clock.now) == "done"
    assert len(calls) == 3


def test_the_pauses_double_up_to_the_longest() -> None:
    clock = Clock()
    call, _ = failing(5, clock)
    policy = RetryPolicy(tries=6, first_delay=1.0, longest_delay=10.0, give_up_after=1000.0)

    retried(policy, "x", call, sleep=clock.sleep, clock=lambda: clock.now, draw=lambda: 1.0)

    assert clock.slept == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_no_try_begins_after_the_time_is_up() -> None:
    clock = Clock()
    call, calls = failing(99, clock, seconds=25.0)

    with pytest.raises(StoreUnavailableError, match=r"x: 503 .gave up after 3 tries"):
        retried(
            RetryPolicy(tries=99, give_up_after=60.0),
            "x",
            call,
            sleep=clock.sleep,
            clock=lambda: clock.now,
            draw=lambda: 0.0,
        )
    assert len(calls) == 3


def test_an_error_that_is_not_transient_goes_through_at_once() -> None:
    def call() -> None:
        raise ForbiddenError("no")

    with pytest.raises(ForbiddenError):
        retried(RetryPolicy(), "x", call, sleep=lambda _: pytest.fail("slept"))
