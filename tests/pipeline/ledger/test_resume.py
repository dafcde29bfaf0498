"""Which images are due: the anti-join, retries, changed photographs."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_case import Clock, a_failure, a_matte, a_ref, open_ledger, run_job, some_refs
from memory_store import MemoryStore

from mattemill.pipeline.ledger.binding import read_job
from mattemill.pipeline.ledger.committed import RESUME_SCHEMA, Committed, NewestRow, pack, unpack
from mattemill.pipeline.ledger.resume import ResumeCounts, RetrySelection, due
from mattemill.pipeline.ledger.stored_key import key_of, stored_key
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason

AT = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = {
    "cut.jpg": NewestRow(0, AT, None, "1"),
    "failed.jpg": NewestRow(2, AT, "no_subject", "1"),
    "slow.jpg": NewestRow(0, AT, "timed_out", "1"),
    "unversioned.jpg": NewestRow(0, AT, None, None),
}


def drawn(refs: list[ImageRef], retry: RetrySelection | None = None) -> tuple[list[tuple[str, int]], ResumeCounts]:
    counts = ResumeCounts()
    return [(ref.key, generation) for ref, generation in due(refs, ROWS, retry, counts)], counts


def test_new_and_changed_images_are_due_and_nothing_else() -> None:
    refs = [a_ref("new.jpg", "1"), a_ref("cut.jpg", "2"), a_ref("failed.jpg", "3"), a_ref("slow.jpg", "1")]
    keys, counts = drawn(refs)
    assert keys == [("new.jpg", 0), ("cut.jpg", 1), ("failed.jpg", 3)]
    assert counts == ResumeCounts(new=1, changed=2, already_done=1)
    assert (counts.due, counts.listed) == (3, 4)


def test_without_an_etag_on_either_side_a_row_stands() -> None:
    keys, counts = drawn([a_ref("cut.jpg", None), a_ref("unversioned.jpg", "9")])
    assert keys == []
    assert counts.already_done == 2


def test_retry_failed_takes_failures_only() -> None:
    refs = [a_ref("new.jpg", "1"), a_ref("cut.jpg", "2"), a_ref("failed.jpg", "1"), a_ref("slow.jpg", "2")]
    keys, counts = drawn(refs, RetrySelection())
    assert keys == [("failed.jpg", 3), ("slow.jpg", 1)]
    assert counts == ResumeCounts(retried=2, not_selected=2)


def test_retry_failed_with_a_reason_takes_that_reason_only() -> None:
    keys, counts = drawn([a_ref("failed.jpg", "1"), a_ref("slow.jpg", "1")], RetrySelection(Reason.TIMED_OUT))
    assert keys == [("slow.jpg", 1)]
    assert counts == ResumeCounts(retried=1, already_done=1)


def test_the_listing_is_streamed() -> None:
    def endless() -> object:
        number = 0
        while True:
            yield a_ref(f"{number}.jpg")
            number += 1

    stream = due(endless(), ROWS, None, ResumeCounts())  # type: ignore[arg-type]
    assert [next(stream)[0].key for _ in range(3)] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_source_without_etags_can_have_them_looked_up_for_committed_keys() -> None:
    looked_up = []

    def head(ref: ImageRef) -> str | None:
        looked_up.append(ref.key)
        return {"cut.jpg": "2", "slow.jpg": "1"}.get(ref.key)

    counts = ResumeCounts()
    refs = [a_ref("new.jpg", None), a_ref("cut.jpg", None), a_ref("slow.jpg", None), a_ref("failed.jpg", "1")]
    found = list(due(refs, ROWS, None, counts, head))
    assert [(ref.key, ref.etag, generation) for ref, generation in found] == [("new.jpg", None, 0), ("cut.jpg", "2", 1)]
    assert sorted(looked_up) == ["cut.jpg", "slow.jpg"]
    assert counts.already_done == 2


def test_a_retry_that_fails_again_can_be_retried_and_one_that_is_cut_is_done(clock: Clock) -> None:
    store = MemoryStore()
    refs = some_refs(4)

    def end(ref: ImageRef, generation: int) -> Outcome:
        return a_failure() if ref == refs[0] or (ref == refs[1] and generation == 0) else a_matte(ref)

    run_job(store, clock, refs, end)
    assert run_job(store, clock, refs, end) == []
    assert run_job(store, clock, refs, end, retry=RetrySelection()) == [(refs[0].key, 1), (refs[1].key, 1)]
    assert run_job(store, clock, refs, end, retry=RetrySelection()) == [(refs[0].key, 2)]
    assert run_job(store, clock, refs, end) == []


def test_a_photograph_replaced_while_it_was_read_is_due_once_the_listing_shows_the_new_one(clock: Clock) -> None:
    store = MemoryStore()
    old, new = a_ref("a.jpg", "old"), a_ref("a.jpg", "new")

    def end(ref: ImageRef, generation: int) -> Outcome:
        return a_failure(Reason.CHANGED_WHILE_READING) if ref == old else a_matte(ref)

    run_job(store, clock, [old], end)
    assert run_job(store, clock, [old], end) == []
    assert run_job(store, clock, [new], end) == [("a.jpg", 1)]
    assert run_job(store, clock, [new], end) == []


def test_a_photograph_that_is_put_back_is_done_again(clock: Clock) -> None:
    store = MemoryStore()
    assert [run_job(store, clock, [a_ref("a.jpg", etag)]) for etag in "ABA"] == [
        [("a.jpg", generation)] for generation in range(3)
    ]


def test_a_whole_listing_is_remembered_and_a_part_of_one_is_not(clock: Clock) -> None:
    from ledger_case import FINGERPRINT, LAYOUT

    store = MemoryStore()
    with open_ledger(store, clock) as ledger:
        next(iter(ledger.due(some_refs(5))))
    record = read_job(store, LAYOUT, FINGERPRINT)
    assert record is not None
    assert record.listing is None
    run_job(store, clock, some_refs(5))
    run_job(store, clock, some_refs(7)[2:])
    record = read_job(store, LAYOUT, FINGERPRINT)
    assert record is not None
    assert record.listing is not None
    assert (record.listing.listed, record.listing.unlisted) == (5, 2)


stored_rows = st.tuples(
    st.integers(0, 2**31),
    st.integers(0, 2**57),
    st.one_of(st.none(), st.sampled_from([reason.value for reason in Reason])),
    st.one_of(st.none(), st.text(max_size=40), st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")),
)


@given(stored_rows)
def test_a_packed_row_is_read_back(row: tuple[int, int, str | None, str | None]) -> None:
    found = unpack(pack(*row))
    assert (found.generation, found.reason, found.etag) == (row[0], row[2], row[3])
    assert (found.finished_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == row[1]


@given(stored_rows, stored_rows)
def test_packed_rows_sort_by_generation_and_time(
    first: tuple[int, int, str, str], second: tuple[int, int, str, str]
) -> None:
    if first[:2] < second[:2]:
        assert pack(*first) < pack(*second)


@given(st.lists(stored_rows, min_size=1, max_size=6), st.randoms())
def test_the_newest_row_does_not_depend_on_the_order_of_reading(
    rows: list[tuple[int, int, str, str]], random: object
) -> None:
    def newest(some: list[tuple[int, int, str, str]]) -> NewestRow:
        committed = Committed()
        for generation, finished, reason, etag in some:
            values = {
                "key": ["k"],
                "etag": [etag],
                "reason": [reason],
                "generation": [generation],
                "finished_at": [finished],
            }
            arrays = [pa.array(values[f.name], type=f.type) for f in RESUME_SCHEMA]
            committed.add(pa.Table.from_arrays(arrays, schema=RESUME_SCHEMA))
        return committed["k"]

    rows = [(min(row[0], 2**31 - 1), *row[1:]) for row in rows]
    shuffled = rows[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert newest(rows) == newest(shuffled) == newest(rows + shuffled)


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_two_keys_are_never_stored_as_one(first: bytes, second: bytes) -> None:
    one, other = (b"".join(part).decode("utf-8", "surrogateescape") for part in ((first,), (b"bytes:", second)))
    for key in (one, other):
        assert key_of(stored_key(key)) == key
        stored_key(key).encode("utf-8")
    assert (stored_key(one) == stored_key(other)) == (one == other)


@pytest.mark.parametrize("count", [50_000])
def test_a_committed_key_takes_less_than_300_bytes(count: int) -> None:
    table = pa.Table.from_arrays(
        [
            pa.array([f"catalog/2026/shoes/photo-{number:014d}.jpg" for number in range(count)]),
            pa.array([f"{number:032x}" for number in range(count)]),
            pa.array([None] * count, type=pa.string()),
            pa.array([0] * count, type=pa.int32()),
            pa.array([AT] * count, type=pa.timestamp("us", tz="UTC")),
        ],
        schema=RESUME_SCHEMA,
    )
    tracemalloc.start()
    try:
        committed = Committed()
        committed.add(table)
        assert len(committed) == count
        assert tracemalloc.get_traced_memory()[0] / count < 300
    finally:
        tracemalloc.stop()
