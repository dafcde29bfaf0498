"""Packing the shards' files when a job ends."""

from __future__ import annotations

import pytest
from ledger_case import (
    FINGERPRINT,
    LAYOUT,
    Clock,
    DyingStore,
    Killed,
    a_failure,
    a_matte,
    a_ref,
    assert_whole,
    every_third_fails,
    newest,
    open_ledger,
    outcomes_of,
    run_job,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.errors import LedgerError
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.outcome_file import decode
from mattemill.pipeline.ledger.reading import read_committed
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import cut_into_shards, make_shard
from mattemill.pipeline.storage.store import Store


def names(store: Store) -> list[str]:
    prefix = LAYOUT.outcomes(FINGERPRINT)
    return [entry.key.removeprefix(prefix) for entry in store.list(prefix)]


def test_a_finished_job_is_one_packed_file_sorted_by_key_without_previews(store: Store, clock: Clock) -> None:
    refs = some_refs(20)
    run_job(store, clock, list(reversed(refs)), every_third_fails)
    (name,) = names(store)
    assert name.startswith("packed-00000000-")
    key = LAYOUT.outcomes(FINGERPRINT) + name
    file = decode(store.get(key).data, key)
    rows = file.table.to_pylist()
    assert [row["key"] for row in rows] == [ref.key for ref in refs]
    assert {row["preview"] for row in rows} == {None}
    assert (file.facts.kind, len(file.facts.shards)) == ("packed", 7)
    assert b"\xff\xd8 preview" not in store.get(key).data
    assert rows[0]["message"] == "Nothing stands out in it."


def test_small_packed_files_are_packed_again_and_large_ones_are_left(clock: Clock) -> None:
    store = DyingStore(MemoryStore())

    def run(first: int, last: int, small: int) -> None:
        with open_ledger(store, clock) as ledger:
            for shard in cut_into_shards(ledger.due(some_refs(last)[first:]), 3):
                ledger.commit(shard, outcomes_of(shard, every_third_fails))
            ledger.finish_job(small=small)

    run(0, 6, 10**6)
    run(6, 12, 10**6)
    assert [name[:15] for name in names(store)] == ["packed-00000001"]
    run(12, 18, 1)
    assert [name[:15] for name in names(store)] == ["packed-00000001", "packed-00000002"]
    assert_whole(store)


def test_a_packed_file_is_closed_before_it_grows_too_large(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    with open_ledger(store, clock) as ledger:
        for shard in cut_into_shards(ledger.due(some_refs(36)), 3):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        ledger.finish_job(largest=12_000)
    assert 2 < len(names(store)) < 12
    assert_whole(store)


def test_packing_keeps_the_newest_row_of_a_key_only(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    refs = some_refs(4)

    def end(ref: ImageRef, generation: int) -> Outcome:
        return a_failure() if generation < 2 else a_matte(ref)

    run_job(store, clock, refs, end, finish=False)
    run_job(store, clock, refs, end, retry=RetrySelection(), finish=False)
    assert len(names(store)) == 4
    run_job(store, clock, refs, end, retry=RetrySelection())
    (name,) = names(store)
    rows = decode(store.get(LAYOUT.outcomes(FINGERPRINT) + name).data, name).table.to_pylist()
    assert [(row["key"], row["generation"], row["outcome"]) for row in rows] == [(ref.key, 2, "matte") for ref in refs]
    assert_whole(store)


def test_two_rows_of_one_key_and_generation_leave_one_and_all_readers_take_the_same(clock: Clock) -> None:
    """What a paused driver that was taken over could still commit."""
    store = DyingStore(MemoryStore())
    with open_ledger(store, clock) as ledger:
        for keys, end in ((["a.jpg", "b.jpg"], a_failure()), (["b.jpg", "c.jpg"], a_matte(a_ref("b.jpg")))):
            shard = make_shard([a_ref(key) for key in keys])
            ledger.commit(shard, dict.fromkeys(keys, end))
        before = newest(store)
        ledger.finish_job()
    assert newest(store) == before
    assert before["b.jpg"].reason is None
    assert_whole(store)


def test_a_job_of_one_shard_is_left_as_it_is(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    run_job(store, clock, some_refs(3))
    assert [name[:5] for name in names(store)] == ["g000-"]
    assert_whole(store)


def test_finishing_twice_changes_nothing(store: Store, clock: Clock) -> None:
    with open_ledger(store, clock) as ledger:
        for shard in cut_into_shards(ledger.due(some_refs(9)), 3):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        ledger.finish_job()
        before = names(store)
        ledger.finish_job()
    run_job(store, clock, some_refs(9))
    assert names(store) == before


def test_files_that_a_killed_packing_left_behind_are_skipped_and_deleted_by_the_next_run(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    run_job(store, clock, some_refs(9), every_third_fails, finish=False)
    ledger = open_ledger(store, clock)
    store.writes_left = 1
    with pytest.raises(Killed):
        ledger.finish_job()
    store.writes_left = None
    committed, inventory = read_committed(store, LAYOUT, FINGERPRINT)
    assert (len(committed), len(inventory.packed), inventory.shards, len(inventory.leftovers)) == (9, 1, {}, 3)
    run_job(store, clock, some_refs(9))
    assert len(names(store)) == 1
    assert_whole(store)


def test_a_packed_file_that_a_later_one_contains_is_a_leftover(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    run_job(store, clock, some_refs(6))
    (old,) = store.list(LAYOUT.outcomes(FINGERPRINT))
    data = store.get(old.key).data
    run_job(store, clock, some_refs(9))
    store.put(old.key, data, content_type="")
    committed, inventory = read_committed(store, LAYOUT, FINGERPRINT)
    assert (len(committed), len(inventory.packed), inventory.leftovers) == (9, 1, [old.key])
    run_job(store, clock, some_refs(9))
    assert len(names(store)) == 1


class Truncates(MemoryStore):
    """A store that keeps only half of a packed file."""

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        half = data[: len(data) // 2] if "/packed-" in key else data
        super().put(key, half, content_type=content_type, if_absent=if_absent)


def test_nothing_is_deleted_when_the_packed_file_is_not_what_was_written(clock: Clock) -> None:
    store = Truncates()
    with open_ledger(store, clock) as ledger:
        for shard in cut_into_shards(ledger.due(some_refs(9)), 3):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        with pytest.raises(LedgerError, match="is not what was written"):
            ledger.finish_job()
    assert len([name for name in names(store) if name.startswith("g000-")]) == 3


class PacksMeanwhile:
    """A store in which another driver finishes its job as soon as the first outcome file is read."""

    def __init__(self, store: MemoryStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger: Ledger | None = ledger
        self.put, self.head, self.delete = store.put, store.head, store.delete

    def list(self, prefix: str, *, start_after: str | None = None):  # type: ignore[no-untyped-def]
        entries = list(self._store.list(prefix, start_after=start_after))
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.finish_job()
        return iter(entries)

    def get(self, key: str, *, etag: str | None = None, max_bytes: int | None = None):  # type: ignore[no-untyped-def]
        return self._store.get(key, etag=etag, max_bytes=max_bytes)


class PacksMeanwhileUnseen(PacksMeanwhile):
    """The same, with a listing that leaves out what was deleted meanwhile, as a folder's does."""

    def list(self, prefix: str, *, start_after: str | None = None):  # type: ignore[no-untyped-def]
        entries = list(super().list(prefix, start_after=start_after))
        return (entry for entry in entries if entry.key in self._store.objects)


@pytest.mark.parametrize("kind", [PacksMeanwhile, PacksMeanwhileUnseen])
def test_a_reader_misses_nothing_that_is_packed_while_it_reads(kind: type[PacksMeanwhile], clock: Clock) -> None:
    memory = MemoryStore()
    with open_ledger(memory, clock) as ledger:
        for shard in cut_into_shards(ledger.due(some_refs(9)), 3):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        committed, inventory = read_committed(kind(memory, ledger), LAYOUT, FINGERPRINT)
    assert len(committed) == 9
    assert (len(inventory.packed), len(inventory.shards)) == (1, 0)
