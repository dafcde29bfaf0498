"""A shard's commit, on each kind of store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger_case import (
    FACTS,
    FINGERPRINT,
    LAYOUT,
    ROOT,
    Clock,
    DyingStore,
    a_failure,
    a_matte,
    a_ref,
    all_cut,
    every_third_fails,
    failures_in_log,
    newest,
    open_ledger,
    outcomes_of,
    run_job,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import LedgerError, SinkError, StoreUnavailableError
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.outcome_file import MESSAGE_LIMIT, decode
from mattemill.pipeline.outcome import Facts, Failure, Matte
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.storage.store import Store


def test_a_committed_image_is_not_due_again(store: Store, clock: Clock) -> None:
    refs = some_refs(10)
    assert run_job(store, clock, refs) == [(ref.key, 0) for ref in refs]
    assert run_job(store, clock, refs) == []


def test_a_shard_is_committed_once_and_the_first_outcomes_stand(store: Store, clock: Clock) -> None:
    shard = make_shard(some_refs(4))
    with open_ledger(store, clock) as ledger:
        assert ledger.commit(shard, outcomes_of(shard, all_cut)) is True
        assert ledger.commit(shard, outcomes_of(shard, lambda ref, generation: a_failure())) is False
    assert [row.reason for row in newest(store).values()] == [None] * 4
    assert failures_in_log(store).total() == 0


def test_a_shard_that_was_packed_is_not_committed_again(store: Store, clock: Clock) -> None:
    shards = [make_shard(some_refs(8)[:4]), make_shard(some_refs(8)[4:])]
    with open_ledger(store, clock) as ledger:
        for shard in shards:
            ledger.commit(shard, outcomes_of(shard, all_cut))
        ledger.finish_job()
        assert ledger.commit(shards[0], outcomes_of(shards[0], all_cut)) is False
    with open_ledger(store, clock) as ledger:
        assert ledger.commit(shards[1], outcomes_of(shards[1], all_cut)) is False
    assert len(list(store.list(LAYOUT.outcomes(FINGERPRINT)))) == 1


def test_commits_from_many_threads_all_stand(store: Store, clock: Clock) -> None:
    refs = some_refs(48)
    shards = [make_shard(refs[start : start + 4]) for start in range(0, 48, 4)]
    with open_ledger(store, clock) as ledger, ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda shard: ledger.commit(shard, outcomes_of(shard, every_third_fails)), shards))
        ledger.finish_job()
    assert len(newest(store)) == 48
    assert failures_in_log(store).total() == 16


def test_all_that_is_known_of_an_image_is_in_its_row(clock: Clock) -> None:
    store = MemoryStore()
    shard = make_shard([a_ref("b.jpg"), a_ref("a.jpg")])
    with open_ledger(store, clock) as ledger:
        ledger.commit(shard, {"a.jpg": a_matte(a_ref("a.jpg")), "b.jpg": a_failure(Reason.TIMED_OUT)})
    key = LAYOUT.shard_file(FINGERPRINT, shard.id)
    file = decode(store.get(key).data, key)
    assert (file.facts.kind, file.facts.source, file.facts.shards) == ("shard", ROOT, (shard.id,))
    matte, failure = file.table.to_pylist()
    common = {
        "size": 123_456,
        "width": 640,
        "height": 480,
        "format": "jpeg",
        "boxes": [list(box) for box in FACTS.boxes],
        "box_scores": [0.75, 0.5],
        "scores": [("quality", 0.5), ("soft_share", 0.25)],
        "seconds": [("fetch", 0.5), ("segment", 0.25)],
        "attempts": [("fetch", 1), ("segment", 2)],
        "worker": [("fetch", "node:12")],
        "device": [("segment", "cpu")],
        "generation": 0,
        "shard": shard.id,
        "etag": "e" * 32,
    }
    assert common.items() <= matte.items()
    assert common.items() <= failure.items()
    assert (matte["key"], matte["outcome"], matte["reason"], matte["preview"]) == ("a.jpg", "matte", None, None)
    assert (matte["output_key"], matte["output_bytes"]) == ("mattes/a.jpg.png", 4321)
    assert (matte["output_width"], matte["output_height"]) == (2000, 1500), "of the canvas, beside the photograph's own"
    assert (failure["output_width"], failure["output_height"]) == (None, None)
    assert (failure["key"], failure["outcome"], failure["reason"]) == ("b.jpg", "failure", "timed_out")
    assert (failure["stage"], failure["message"]) == ("detect", "Nothing stands out in it.")
    assert (failure["preview"], failure["output_key"]) == (b"\xff\xd8 preview", None)
    assert failure["finished_at"].isoformat() == file.facts.committed_at


def test_the_listed_etag_is_kept_also_when_other_bytes_were_read(clock: Clock) -> None:
    store = MemoryStore()
    refs = [a_ref("listed.jpg", "listed"), a_ref("unlisted.jpg", None)]
    read = Facts(etag="as read", encoded_bytes=5)
    changed = Failure(Reason.CHANGED_WHILE_READING, "fetch", "It was replaced.", None, read)
    with open_ledger(store, clock) as ledger:
        ledger.commit(make_shard(refs), {"listed.jpg": changed, "unlisted.jpg": Matte("x", 1, read)})
    assert {key: row.etag for key, row in newest(store).items()} == {"listed.jpg": "listed", "unlisted.jpg": "as read"}
    assert run_job(store, clock, [a_ref("listed.jpg", "listed")]) == []
    assert run_job(store, clock, [a_ref("listed.jpg", "as read")]) == [("listed.jpg", 1)]


def test_outcomes_that_are_not_those_of_the_shard_are_refused_by_name(clock: Clock) -> None:
    store = MemoryStore()
    shard = make_shard([a_ref("a.jpg"), a_ref("b.jpg")])
    with open_ledger(store, clock) as ledger:
        with pytest.raises(LedgerError, match=r"without an outcome: 'b\.jpg'; not of this shard: 'c\.jpg'"):
            ledger.commit(shard, {"a.jpg": a_failure(), "c.jpg": a_failure()})
        twice = make_shard([a_ref("a.jpg"), a_ref("a.jpg")])
        with pytest.raises(LedgerError, match=r"more than once: 'a\.jpg'"):
            ledger.commit(twice, {"a.jpg": a_failure()})
    assert newest(store) == {}


def test_the_finished_part_of_a_shard_can_be_committed_and_the_rest_is_due(store: Store, clock: Clock) -> None:
    refs = some_refs(8)
    with open_ledger(store, clock) as ledger:
        part = make_shard(refs[2:5])
        assert ledger.commit(part, outcomes_of(part, all_cut))
    rest = refs[:2] + refs[5:]
    assert run_job(store, clock, refs, shard_size=8) == [(ref.key, 0) for ref in rest]
    assert len(newest(store)) == 8


def test_another_fingerprint_makes_everything_due_and_leaves_the_first_ones_rows_alone(
    store: Store, clock: Clock
) -> None:
    refs = some_refs(4)
    run_job(store, clock, refs)
    rows = newest(store)
    assert run_job(store, clock, refs, fingerprint="f" * 16) == [(ref.key, 0) for ref in refs]
    assert newest(store) == rows


def test_a_sink_of_another_source_is_refused_with_both_names(store: Store, clock: Clock) -> None:
    run_job(store, clock, some_refs(2))
    with pytest.raises(SinkError, match=r"s3://catalog/photos/, not of s3://other/.*use another sink prefix"):
        open_ledger(store, clock, source_root="s3://other/")
    with pytest.raises(SinkError, match="use another sink prefix"):
        Ledger.at(store, LAYOUT, JobConfig(), FINGERPRINT, "s3://other/", read_only=True)


def test_a_dry_run_writes_nothing_and_cannot_commit(clock: Clock) -> None:
    store = MemoryStore()
    ledger = Ledger.at(store, LAYOUT, JobConfig(), FINGERPRINT, ROOT, read_only=True)
    assert len(list(ledger.due(some_refs(3)))) == 3
    with pytest.raises(LedgerError, match="read-only"):
        ledger.commit(make_shard(some_refs(1)), {})
    with pytest.raises(LedgerError, match="read-only"):
        ledger.finish_job()
    ledger.close()
    assert store.objects == {}


def test_a_damaged_outcome_file_is_named(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(2), finish=False)
    key = next(key for key in store.objects if "/outcomes/" in key)
    store.put(key, store.get(key).data[:-7], content_type="")
    with pytest.raises(LedgerError, match=rf"{key}: cannot be read as Parquet"):
        open_ledger(store, clock)


def test_a_file_under_a_wrong_name_is_refused(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(2), finish=False)
    key = next(key for key in store.objects if "/outcomes/" in key)
    store.put(LAYOUT.shard_file(FINGERPRINT, "g000-other"), store.get(key).data, content_type="")
    with pytest.raises(LedgerError, match="its name says another"):
        open_ledger(store, clock)


def test_a_foreign_file_among_the_outcomes_is_left_alone(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(4))
    store.put(LAYOUT.outcomes(FINGERPRINT) + "notes.txt", b"hello", content_type="text/plain")
    assert run_job(store, clock, some_refs(4)) == []
    assert store.get(LAYOUT.outcomes(FINGERPRINT) + "notes.txt").data == b"hello"


def test_odd_texts_are_stored(clock: Clock) -> None:
    store = MemoryStore()
    odd = ["caf\udce9.jpg", "bytes:caf%E9.jpg", "a\0b.jpg", " trailing .jpg ", "\U0001f45f \u00e9\u0065\u0301.jpg"]
    refs = [ImageRef(key, ROOT + key, "1", 1) for key in odd]

    def end(ref: ImageRef, generation: int) -> Failure:
        return Failure(Reason.INTERNAL_ERROR, "detect", f"{ref.key} " + "x" * 10_000)

    assert [key for key, _ in run_job(store, clock, refs, end)] == odd
    assert set(newest(store)) == set(odd)
    assert run_job(store, clock, refs, end) == []
    names = [key for key in store.objects if "/failures/" in key]
    rows = [row for name in names for row in decode(store.get(name).data, name).table.to_pylist()]
    assert len({row["key"] for row in rows}) == len(odd)
    assert {len(row["message"]) for row in rows} == {MESSAGE_LIMIT}


class LosesAnswers:
    """A store whose conditional PUTs succeed and are answered with 412: their first answer was lost on the way."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.get, self.head, self.list, self.delete = store.get, store.head, store.list, store.delete

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        self._store.put(key, data, content_type=content_type, if_absent=if_absent)
        if if_absent:
            self._store.put(key, data, content_type=content_type, if_absent=True)


def test_a_put_whose_answer_was_lost_is_our_own_commit(clock: Clock) -> None:
    memory = MemoryStore()
    refs = some_refs(9)
    assert len(run_job(LosesAnswers(memory), clock, refs, every_third_fails)) == 9
    assert len(newest(memory)) == 9
    assert failures_in_log(memory).total() == 3
    assert run_job(LosesAnswers(memory), clock, refs) == []


class RefusesToWrite:
    """A store that cannot write keys that a test names; can be told to work again."""

    def __init__(self, store: MemoryStore, refuse: Callable[[str], bool]) -> None:
        self._store = store
        self.refuse = refuse
        self.get, self.head, self.list, self.delete = store.get, store.head, store.list, store.delete

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        if self.refuse(key):
            raise StoreUnavailableError(f"{key}: 503")
        self._store.put(key, data, content_type=content_type, if_absent=if_absent)


def test_a_commit_stands_when_the_failure_log_cannot_be_written_and_finish_job_makes_it_whole(clock: Clock) -> None:
    store = RefusesToWrite(MemoryStore(), lambda key: "/failures/" in key)
    shard = make_shard(some_refs(6))
    with open_ledger(store, clock) as ledger:
        assert ledger.commit(shard, outcomes_of(shard, every_third_fails))
        with pytest.raises(StoreUnavailableError):
            ledger.finish_job()
        assert failures_in_log(store).total() == 0
        store.refuse = lambda key: False
        ledger.finish_job()
    assert failures_in_log(store).total() == 2


def test_nothing_is_committed_when_the_outcome_file_cannot_be_written(clock: Clock) -> None:
    store = RefusesToWrite(MemoryStore(), lambda key: "/outcomes/" in key)
    shard = make_shard(some_refs(3))
    with open_ledger(store, clock) as ledger:
        with pytest.raises(StoreUnavailableError):
            ledger.commit(shard, outcomes_of(shard, every_third_fails))
        assert failures_in_log(store).total() == 0
        store.refuse = lambda key: False
        assert ledger.commit(shard, outcomes_of(shard, every_third_fails))


def test_the_store_in_memory_and_the_dying_one_are_stores() -> None:
    def takes(store: Store) -> Store:
        return store

    takes(MemoryStore())
    takes(DyingStore(MemoryStore()))
