"""Shards' files are packed while a job runs: nothing lost or doubled whenever it is killed, few files to resume."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger_case import (
    FINGERPRINT,
    LAYOUT,
    Clock,
    DyingStore,
    Killed,
    all_cut,
    assert_nothing_lost,
    assert_whole,
    every_third_fails,
    newest,
    open_ledger,
    outcomes_of,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.errors import StoreUnavailableError
from mattemill.pipeline.ledger import ledger as ledger_module
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.outcome_file import decode
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import cut_into_shards
from mattemill.pipeline.storage.store import Entry, Store

PIECE = 4


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_PIECE_SHARDS", (PIECE, PIECE))


def names(store: Store) -> list[str]:
    prefix = LAYOUT.outcomes(FINGERPRINT)
    return [entry.key.removeprefix(prefix) for entry in store.list(prefix)]


def run_packing(store: Store, clock: Clock, refs: list[ImageRef], *, finish: bool = True) -> int:
    """A job that packs whenever it is due; the images that it did."""
    done = 0
    with open_ledger(store, clock) as ledger:
        for shard in cut_into_shards(ledger.due(iter(refs)), 3):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
            done += len(shard.refs)
            if ledger.pack_due():
                ledger.pack_some()
        if finish:
            ledger.finish_job()
    return done


def test_a_job_that_does_not_end_leaves_a_few_small_files_and_a_packed_one_a_piece(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    assert run_packing(store, clock, some_refs(42), finish=False) == 42
    packed = [name for name in names(store) if name.startswith("packed-")]
    assert [name[:15] for name in packed] == ["packed-00000000", "packed-00000001", "packed-00000002"]
    assert len(names(store)) - len(packed) == 2
    assert run_packing(store, clock, some_refs(42)) == 0
    assert len(names(store)) == 1
    assert_whole(store)


def test_a_job_killed_after_any_write_loses_and_doubles_nothing() -> None:
    undisturbed, clock = DyingStore(MemoryStore()), Clock()
    run_packing(undisturbed, clock, some_refs(30))
    assert undisturbed.writes >= 40
    for writes in range(undisturbed.writes):
        store, clock = DyingStore(MemoryStore()), Clock()
        store.writes_left = writes
        with pytest.raises(Killed):
            run_packing(store, clock, some_refs(30))
        store.writes_left = None
        assert_nothing_lost(store)
        clock.pass_by(hours=5)
        run_packing(store, clock, some_refs(30))
        assert_whole(store)
        assert newest(store).keys() == newest(undisturbed).keys()


def test_a_shard_that_is_packed_already_is_not_committed_again(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    with open_ledger(store, clock) as ledger:
        shards = list(cut_into_shards(ledger.due(some_refs(12)), 3))
        for shard in shards:
            assert ledger.commit(shard, outcomes_of(shard, every_third_fails))
        ledger.pack_some()
        before = newest(store)
        assert not any(ledger.commit(shard, outcomes_of(shard, all_cut)) for shard in shards)
        assert newest(store) == before
        assert len(names(store)) == 1


class PacksBeforePut(DyingStore):
    """Packs just before an outcome file is PUT: what a late owner of a shard can meet."""

    ledger: Ledger | None = None

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        if self.ledger is not None and "/outcomes/" in key:
            ledger, self.ledger = self.ledger, None
            ledger.pack_some()
        super().put(key, data, content_type=content_type, if_absent=if_absent)


def test_a_late_commit_of_a_shard_that_is_packed_meanwhile_changes_nothing(clock: Clock) -> None:
    store = PacksBeforePut(MemoryStore())
    with open_ledger(store, clock) as ledger:
        shards = list(cut_into_shards(ledger.due(some_refs(12)), 3))
        for shard in shards:
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        before = newest(store)
        store.ledger = ledger
        assert not ledger.commit(shards[0], outcomes_of(shards[0], all_cut))
        assert newest(store) == before
        assert not ledger.pack_due()
        assert ledger.loose_files == 0
    store.shard_files.clear()  # the late file was written, and never counted
    with open_ledger(store, clock) as ledger:
        ledger.finish_job()
    assert len(names(store)) == 1
    assert newest(store) == before


class LogRefused(DyingStore):
    """Refuses the failure log."""

    refused = True

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        if self.refused and "/failures/" in key:
            raise StoreUnavailableError(f"{key}: 503")
        super().put(key, data, content_type=content_type, if_absent=if_absent)


def test_a_shard_whose_failures_are_not_in_the_log_waits_for_the_end(clock: Clock) -> None:
    store = LogRefused(MemoryStore())
    with open_ledger(store, clock) as ledger:
        for shard in cut_into_shards(ledger.due(some_refs(24)), 3):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        assert not ledger.pack_due(), "each of these shards has a failure that the log lacks"
        store.refused = False
        ledger.finish_job()
    assert_whole(store)


def test_commits_from_threads_beside_the_packing(clock: Clock) -> None:
    store = DyingStore(MemoryStore())
    refs = some_refs(600)
    with open_ledger(store, clock) as ledger, ThreadPoolExecutor(3) as pool:
        shards = list(cut_into_shards(ledger.due(iter(refs)), 3))
        random.Random(3).shuffle(shards)
        commits = [pool.submit(ledger.commit, shard, outcomes_of(shard, every_third_fails)) for shard in shards]
        packings = 0
        while not all(commit.done() for commit in commits) or ledger.pack_due():
            if ledger.pack_due():
                ledger.pack_some()
                packings += 1
        assert all(commit.result() for commit in commits)
        assert packings >= 10
        assert ledger.loose_files < PIECE
    assert_nothing_lost(store)
    assert len(newest(store)) == len(refs)
    with open_ledger(store, clock) as ledger:
        assert list(ledger.due(refs)) == []
        ledger.finish_job()
    assert_whole(store)


class AnswersLate(MemoryStore):
    """Takes the PUT of a packed file, and then does not answer."""

    silent = False

    def head(self, key: str) -> Entry:
        if self.silent and "packed-" in key:
            self.silent = False
            raise StoreUnavailableError("503 SlowDown")
        return super().head(key)


@pytest.mark.parametrize("again", ["packs again", "ends"])
def test_a_packed_file_whose_answer_was_lost_doubles_no_row(again: str, clock: Clock) -> None:
    store = AnswersLate(clock)
    refs = some_refs(3 * (PIECE + 3))
    with open_ledger(store, clock) as ledger:
        shards = list(cut_into_shards(ledger.due(iter(refs)), 3))
        for shard in shards[: PIECE + 1]:
            ledger.commit(shard, outcomes_of(shard, all_cut))
        ledger._unlogged.add(shards[1].id)  # its failures are being logged by the other thread of the committer
        store.silent = True
        with pytest.raises(StoreUnavailableError):
            ledger.pack_some()
        ledger._unlogged.discard(shards[1].id)
        for shard in shards[PIECE + 1 :]:
            ledger.commit(shard, outcomes_of(shard, all_cut))
        if again == "packs again":
            ledger.pack_some()
            assert_each_row_once(store)
        ledger.finish_job()
        assert_each_row_once(store)
        assert [name for name in names(store) if not name.startswith("packed-")] == []
    with open_ledger(store, clock) as ledger:
        assert list(ledger.due(iter(refs))) == []


class KeepsFiles(MemoryStore):
    """Refuses to delete, once."""

    refuses = False

    def delete(self, key: str) -> None:
        if self.refuses:
            self.refuses = False
            raise StoreUnavailableError("503 SlowDown")
        super().delete(key)


def test_what_could_not_be_deleted_after_packing_is_deleted_at_the_end(clock: Clock) -> None:
    store = KeepsFiles(clock)
    refs = some_refs(3 * (PIECE + 2))
    with open_ledger(store, clock) as ledger:
        for shard in cut_into_shards(ledger.due(iter(refs)), 3):
            ledger.commit(shard, outcomes_of(shard, all_cut))
        store.refuses = True
        with pytest.raises(StoreUnavailableError):
            ledger.pack_some()
        ledger.finish_job()
        assert len(names(store)) == 1, "all is in one packed file, the small one too"
        assert_each_row_once(store)


def assert_each_row_once(store: MemoryStore) -> None:
    """Of the files that count: a packed one, and those of shards that are in none."""
    rows: Counter[str] = Counter()
    contained: set[str] = set()
    prefix = LAYOUT.outcomes(FINGERPRINT)
    files = [decode(store.get(entry.key).data, entry.key) for entry in store.list(prefix)]
    for file in files:
        if file.facts.kind == "packed":
            contained |= set(file.facts.shards)
    for file in files:
        if file.facts.kind == "packed" or not set(file.facts.shards) <= contained:
            rows.update(file.table.column("key").to_pylist())
    assert set(rows.values()) <= {1}, rows
