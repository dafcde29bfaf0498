"""Jobs of different settings in one sink: they write to the same keys, and the ledger knows whose file lies there."""

from __future__ import annotations

import pytest
from ledger_case import (
    FINGERPRINT,
    LAYOUT,
    ROOT,
    Clock,
    a_failure,
    a_matte,
    a_ref,
    every_third_fails,
    newest,
    open_ledger,
    outcomes_of,
    run_job,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ForbiddenError, JobRunningError
from mattemill.pipeline.ledger.committed import Committed
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.others import Others
from mattemill.pipeline.ledger.reading import read_committed
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.storage.store import Store

A, B, C = FINGERPRINT, "b" * 16, "c" * 16
CUTOUT = JobConfig(output="cutout")


def all_fail(ref: ImageRef, generation: int) -> Outcome:
    return a_failure()


@pytest.mark.parametrize("finish", [False, True])
def test_settings_a_then_b_then_a_again_do_everything_each_time(store: Store, clock: Clock, finish: bool) -> None:
    refs = some_refs(4)
    for generation in range(3):
        for job in (A, B):
            done = run_job(store, clock, refs, fingerprint=job, finish=finish)
            assert done == [(ref.key, generation) for ref in refs]
            assert run_job(store, clock, refs, fingerprint=job, finish=finish) == []
    assert {row.generation for row in newest(store, A).values()} == {2}


def test_only_what_the_other_job_has_cut_is_done_again(store: Store, clock: Clock) -> None:
    refs = some_refs(9)
    run_job(store, clock, refs)
    run_job(store, clock, refs[:6], every_third_fails, fingerprint=B)
    with open_ledger(store, clock) as ledger:
        again = list(ledger.due(refs))
        assert (ledger.counts.overwritten, ledger.counts.changed, ledger.counts.already_done) == (4, 0, 5)
        assert (ledger.counts.due, ledger.counts.listed) == (4, 9)
    assert again == [(refs[number], 1) for number in (1, 2, 4, 5)]


def test_a_dry_run_counts_what_was_overwritten(clock: Clock) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(3))
    run_job(store, clock, some_refs(2), fingerprint=B)
    before = dict(store.objects)
    ledger = Ledger.at(store, LAYOUT, JobConfig(), A, ROOT, read_only=True)
    assert len(list(ledger.due(some_refs(3)))) == ledger.counts.overwritten == 2
    assert store.objects == before


def test_an_overwritten_image_is_not_selected_when_only_failures_are_retried(clock: Clock) -> None:
    store = MemoryStore()
    refs = some_refs(6)
    run_job(store, clock, refs, every_third_fails)
    run_job(store, clock, refs[:3], fingerprint=B)
    with open_ledger(store, clock) as ledger:
        assert list(ledger.due(refs, RetrySelection())) == [(refs[0], 1), (refs[3], 1)]
        assert (ledger.counts.retried, ledger.counts.not_selected, ledger.counts.already_done) == (2, 2, 2)


def test_a_job_of_another_format_writes_to_other_keys_and_overwrites_nothing(store: Store, clock: Clock) -> None:
    run_job(store, clock, some_refs(3))
    run_job(store, clock, some_refs(3), fingerprint=B, config=JobConfig(format="webp"))
    assert run_job(store, clock, some_refs(3)) == []


@pytest.mark.parametrize("record", [None, b"no JSON"])
def test_a_job_without_a_readable_record_is_taken_for_one_of_the_same_format(
    clock: Clock, record: bytes | None
) -> None:
    store = MemoryStore()
    run_job(store, clock, some_refs(3))
    run_job(store, clock, some_refs(3), fingerprint=B)
    store.delete(LAYOUT.job(B))
    if record is not None:
        store.put(LAYOUT.job(B), record, content_type="")
    assert len(run_job(store, clock, some_refs(3))) == 3


def test_a_failure_of_another_job_that_took_our_matte_away_makes_it_due(clock: Clock) -> None:
    store = MemoryStore()
    refs = some_refs(2)
    run_job(store, clock, refs)
    run_job(store, clock, refs, all_fail, fingerprint=B)
    assert run_job(store, clock, refs) == [], "the same kind of picture was left in its place"
    run_job(store, clock, refs, all_fail, fingerprint=C, config=CUTOUT)
    assert run_job(store, clock, refs) == [(ref.key, 1) for ref in refs]
    assert run_job(store, clock, refs) == []


def test_a_photograph_put_back_after_another_job_failed_on_its_replacement_is_done_again(clock: Clock) -> None:
    store = MemoryStore()
    old, new = a_ref("a.jpg", "e" * 32), a_ref("a.jpg", "f" * 32)
    run_job(store, clock, [old])
    run_job(store, clock, [new], all_fail, fingerprint=B)
    run_job(store, clock, [old], all_fail, fingerprint=B)
    assert run_job(store, clock, [old]) == [("a.jpg", 1)]


def test_nothing_is_kept_of_another_jobs_mattes_under_newer_ones_of_ours(clock: Clock) -> None:
    store = MemoryStore()
    refs = some_refs(6)
    run_job(store, clock, refs, fingerprint=B)
    run_job(store, clock, refs, every_third_fails)
    theirs, ours = read_committed(store, LAYOUT, B)[0], read_committed(store, LAYOUT, A)[0]
    others = Others()
    others.take(theirs, ours, same_kind=False)
    assert [ref.key for ref in refs if others.matte(ref.key)] == [refs[0].key, refs[3].key]
    assert len(others) == 2
    matte = others.matte(refs[0].key)
    assert matte is not None
    assert (matte.finished_at, matte.etag, matte.same_kind) == (theirs[refs[0].key].finished_at, refs[0].etag, False)
    others.take(theirs, Committed(), same_kind=True)
    assert len(others) == 6


# What lies in the sink under the key of a failure.


class Sink:
    """Runs jobs that also write their files, as the store stage does."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock

    def cut(self, refs: list[ImageRef], job: str = A, config: JobConfig | None = None) -> None:
        def end(ref: ImageRef, generation: int) -> Outcome:
            self.store.put(f"mattes/{ref.key}.png", job.encode(), content_type="image/png")
            return a_matte(ref)

        run_job(self.store, self.clock, refs, end, fingerprint=job, config=config)

    def fail(self, refs: list[ImageRef], job: str = A, config: JobConfig | None = None) -> list[tuple[str, int]]:
        return run_job(self.store, self.clock, refs, all_fail, fingerprint=job, config=config)

    def files(self) -> dict[str, str]:
        names = [entry.key for entry in self.store.list("mattes/") if "_mattemill" not in entry.key]
        return {name: self.store.get(name).data.decode() for name in names}


@pytest.fixture
def sink(store: Store, clock: Clock) -> Sink:
    return Sink(store, clock)


OLD, NEW, KEPT = a_ref("a.jpg", "e" * 32), a_ref("a.jpg", "f" * 32), a_ref("b.jpg")


def test_the_matte_of_a_replaced_photograph_that_cannot_be_cut_is_removed(sink: Sink) -> None:
    sink.cut([OLD, KEPT])
    assert sink.fail([NEW, KEPT]) == [("a.jpg", 1)]
    assert sink.files() == {"mattes/b.jpg.png": A}


def test_the_matte_of_a_replaced_photograph_that_is_cut_stays(sink: Sink) -> None:
    sink.cut([OLD])
    sink.cut([NEW])
    assert sink.files() == {"mattes/a.jpg.png": A}
    assert newest(sink.store)["a.jpg"].generation == 1


def test_another_jobs_matte_of_a_replaced_photograph_that_cannot_be_cut_is_removed(sink: Sink) -> None:
    sink.cut([OLD, KEPT])
    assert sink.fail([NEW, KEPT], B) == [("a.jpg", 0), ("b.jpg", 0)]
    assert sink.files() == {"mattes/b.jpg.png": A}


@pytest.mark.parametrize("etag", ["e" * 32, None])
def test_the_matte_of_the_same_photograph_and_kind_stays_until_it_is_replaced(sink: Sink, etag: str | None) -> None:
    sink.cut([OLD])
    sink.fail([a_ref("a.jpg", etag)], B)
    assert sink.files() == {"mattes/a.jpg.png": A}
    sink.fail([NEW], B)
    assert sink.files() == {}, "its photograph is another one now"


@pytest.mark.parametrize(
    "config",
    [CUTOUT, JobConfig(subjects="all"), JobConfig(output="composite", background="#ff0000")],
    ids=["output", "subjects", "background"],
)
def test_another_kind_of_picture_is_removed_when_the_photograph_fails(clock: Clock, config: JobConfig) -> None:
    sink = Sink(MemoryStore(), clock)
    sink.cut([OLD, KEPT], A, JobConfig(output="composite") if config.background else None)
    sink.fail([OLD], B, config)
    assert sink.files() == {"mattes/b.jpg.png": A}


def test_what_another_job_has_written_over_ours_is_judged_by_its_own_row(clock: Clock) -> None:
    sink = Sink(MemoryStore(), clock)
    sink.cut([OLD, KEPT])
    sink.cut([OLD, KEPT], B, CUTOUT)
    assert sink.fail([OLD, KEPT]) == [("a.jpg", 1), ("b.jpg", 1)]
    assert sink.files() == {}
    sink.cut([OLD, KEPT], C)
    assert sink.fail([OLD, KEPT]) == [("a.jpg", 2), ("b.jpg", 2)]
    assert sink.files() == {"mattes/a.jpg.png": C, "mattes/b.jpg.png": C}


def test_an_older_matte_under_our_failure_goes_when_its_photograph_is_replaced(clock: Clock) -> None:
    sink = Sink(MemoryStore(), clock)
    sink.cut([OLD])
    sink.fail([OLD], B)
    assert sink.files() == {"mattes/a.jpg.png": A}
    assert sink.fail([NEW], B) == [("a.jpg", 1)]
    assert sink.files() == {}


class DeletesNot(MemoryStore):
    """A store whose policy allows no deletion of outputs; tells a test of each that is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []
        self.refuses = True

    def delete(self, key: str) -> None:
        if "_mattemill" not in key:
            self.tried.append(key)
            if self.refuses:
                raise ForbiddenError(f"{key}: 403")
        super().delete(key)


def test_a_stale_matte_that_cannot_be_deleted_is_warned_of_and_the_failure_is_committed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = DeletesNot()
    sink = Sink(store, clock)
    sink.cut([OLD])
    assert sink.fail([NEW]) == [("a.jpg", 1)]
    assert newest(store)["a.jpg"].failed
    assert store.tried == ["mattes/a.jpg.png"]
    assert "stale matte not deleted key=mattes/a.jpg.png error=mattes/a.jpg.png: 403" in caplog.text


def test_a_driver_that_was_taken_over_while_it_deletes_stops_and_commits_nothing(clock: Clock) -> None:
    """A successor takes the lease while the first of three stale mattes is being deleted."""

    class TakenOver(DeletesNot):
        def delete(self, key: str) -> None:
            super().delete(key)
            if "_mattemill" not in key and len(self.tried) == at:
                open_ledger(self, clock)

    for at in (1, 3):
        store = TakenOver()
        store.refuses = False
        sink = Sink(store, clock)
        sink.cut(some_refs(3))
        shard = make_shard([a_ref(ref.key, "changed") for ref in some_refs(3)], 1)
        ledger = open_ledger(store, clock)
        with pytest.raises(JobRunningError, match="taken over"):
            ledger.commit(shard, outcomes_of(shard, all_fail))
        assert len(store.tried) == at
        assert {row.generation for row in newest(store).values()} == {0}
