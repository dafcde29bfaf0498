"""A driver killed after each of its writes in turn, and run again: nothing lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from ledger_case import (
    Clock,
    DyingStore,
    Killed,
    a_failure,
    a_matte,
    a_ref,
    assert_nothing_lost,
    assert_whole,
    newest,
    open_ledger,
    run_job,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason

BEFORE = some_refs(10)
AFTER = [*BEFORE[:4], a_ref(BEFORE[4].key, "changed"), *BEFORE[5:9], *some_refs(14)[10:]]
"""The next listing: one photograph changed, one gone, four new ones."""


def end(ref: ImageRef, generation: int) -> Outcome:
    number = int(ref.key[-8:-4])
    if number % 4 or (generation and number == 4):
        return a_matte(ref)
    return a_failure(Reason.TRUNCATED if number == 8 else Reason.NO_SUBJECT)


Run = Callable[[DyingStore, Clock], object]

RUNS: dict[str, Run] = {
    "a first run": lambda store, clock: run_job(store, clock, BEFORE, end),
    "a run on a changed listing": lambda store, clock: run_job(store, clock, AFTER, end),
    "a retry of one reason": lambda store, clock: run_job(
        store, clock, AFTER, lambda ref, generation: a_matte(ref), retry=RetrySelection(Reason.NO_SUBJECT)
    ),
    "a run with nothing to do": lambda store, clock: run_job(store, clock, AFTER, end),
}
NAMES = list(RUNS)


def prepared(before: int) -> tuple[DyingStore, Clock]:
    """A sink in which the first `before` runs have come to their ends."""
    store, clock = DyingStore(MemoryStore()), Clock("2026-03-01T23:59:59.980000+00:00")
    for name in NAMES[:before]:
        RUNS[name](store, clock)
    return store, clock


def ends(store: DyingStore) -> dict[str, tuple[int, str | None, str | None]]:
    return {key: (row.generation, row.reason, row.etag) for key, row in newest(store).items()}


def writes_of(number: int) -> Iterator[int]:
    store, clock = prepared(number)
    before = store.writes
    RUNS[NAMES[number]](store, clock)
    yield from range(store.writes - before)


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_a_run_killed_after_any_write_and_repeated_ends_as_if_it_had_not_been_killed(number: int) -> None:
    undisturbed, clock = prepared(number + 1)
    assert_whole(undisturbed)
    tried = 0
    for writes in writes_of(number):
        store, clock = prepared(number)
        store.writes_left = writes
        with pytest.raises(Killed):
            RUNS[NAMES[number]](store, clock)
        store.writes_left = None
        assert_nothing_lost(store)
        clock.pass_by(hours=5)
        RUNS[NAMES[number]](store, clock)
        assert_whole(store)
        assert ends(store) == ends(undisturbed)
        tried += 1
    assert tried >= 5


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_the_repetition_is_killed_as_well_and_a_third_run_ends_it(number: int) -> None:
    undisturbed, clock = prepared(number + 1)
    for writes in list(writes_of(number))[::5]:
        for more in (1, 3, 6, 8, 11, 15):
            store, clock = prepared(number)
            for left in (writes, more):
                store.writes_left = left
                with suppress(Killed):
                    RUNS[NAMES[number]](store, clock)
                store.writes_left = None
                assert_nothing_lost(store)
            RUNS[NAMES[number]](store, clock)
            assert_whole(store)
            assert ends(store) == ends(undisturbed)


def test_packing_of_several_files_killed_after_any_write_loses_and_doubles_nothing() -> None:
    def commit_all(store: DyingStore, clock: Clock) -> None:
        run_job(store, clock, some_refs(24), end, finish=False)

    def pack(store: DyingStore, clock: Clock) -> None:
        with open_ledger(store, clock) as ledger:
            ledger.finish_job(largest=20_000, small=15_000)

    counted, clock = DyingStore(MemoryStore()), Clock()
    commit_all(counted, clock)
    before = counted.writes
    pack(counted, clock)
    assert counted.writes - before > 10
    for writes in range(counted.writes - before):
        store, clock = DyingStore(MemoryStore()), Clock()
        commit_all(store, clock)
        store.writes_left = writes
        with pytest.raises(Killed):
            pack(store, clock)
        store.writes_left = None
        assert_nothing_lost(store)
        assert run_job(store, clock, some_refs(24), end) == []
        assert_whole(store)
