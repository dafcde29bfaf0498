"""Shards are committed behind the coordinator's back, and what goes wrong there is not lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest
from simulated_cell import shards_of

from mattemill.cluster.committer import Committer
from mattemill.pipeline.errors import JobRunningError, StoreUnavailableError
from mattemill.pipeline.outcome import Failure, Matte, Outcome
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import Shard


class MemoryLedger:
    """Keeps what is committed; raises what it is given."""

    def __init__(self, raises: Exception | None = None) -> None:
        self.rows: dict[str, Outcome] = {}
        self.checks = 0
        self.raises = raises

    def commit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> bool:
        if self.raises is not None:
            raise self.raises
        self.rows.update(outcomes)
        return True

    def check(self) -> None:
        self.checks += 1
        if self.raises is not None:
            raise self.raises

    def pack_due(self) -> bool:
        return False

    def pack_some(self) -> None:
        raise AssertionError("nothing is due")


def test_committed_shards_are_counted_by_how_their_images_ended() -> None:
    ledger = MemoryLedger()
    committer = Committer(ledger)
    for shard in shards_of(40, 16):
        outcomes: dict[str, Outcome] = {ref.key: Matte(ref.key, 1) for ref in shard.refs}
        outcomes[shard.refs[0].key] = Failure(Reason.NO_SUBJECT, "detect", "none")
        committer.submit(shard, outcomes)
    committer.drain()
    committer.close()
    assert (committer.shards, committer.cut, committer.failed) == (3, 37, {Reason.NO_SUBJECT: 3})
    assert len(ledger.rows) == 40
    assert committer.pending == 0


def test_the_log_names_job_shard_and_image_of_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    committer = Committer(MemoryLedger(), job="0123456789abcdef")
    (shard,) = shards_of(3)
    outcomes: dict[str, Outcome] = {ref.key: Matte(ref.key, 1) for ref in shard.refs}
    outcomes[shard.refs[1].key] = Failure(Reason.NO_SUBJECT, "detect", "two\nlines")
    with caplog.at_level("INFO", "mattemill.cluster.committer"):
        committer.submit(shard, outcomes)
        committer.drain()
    committer.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"image failed job=0123456789abcdef shard={shard.id} key={shard.refs[1].key!r} reason=no_subject stage=detect "
        "message='two\\nlines'",
        f"shard committed job=0123456789abcdef shard={shard.id} images=3 failed=1 new=True",
    ]


def test_a_failed_commit_is_raised_and_not_counted() -> None:
    committer = Committer(MemoryLedger(StoreUnavailableError("503")))
    (shard,) = shards_of(4)
    committer.submit(shard, {ref.key: Matte(ref.key, 1) for ref in shard.refs})
    with pytest.raises(StoreUnavailableError, match="503"):
        committer.drain()
    assert committer.cut == 0
    committer.close()


def test_a_lease_that_was_taken_over_is_noticed_without_a_commit() -> None:
    now = 0.0
    ledger = MemoryLedger(JobRunningError("another run"))
    committer = Committer(ledger, clock=lambda: now)
    committer.check()
    now = 31.0
    committer.check()
    committer.close()
    with pytest.raises(JobRunningError):
        committer.check()
    assert ledger.checks == 1


class PackingLedger(MemoryLedger):
    """Two pieces are due; the first packing raises what it is given."""

    def __init__(self, first: Exception | None = None) -> None:
        super().__init__()
        self.due = 2
        self.first = first

    def pack_due(self) -> bool:
        return self.due > 0

    def pack_some(self) -> None:
        first, self.first = self.first, None
        if first is not None:
            raise first
        self.due -= 1


def check_until(committer: Committer, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        committer.check()
        time.sleep(0.001)


def test_what_is_due_is_packed_beside_the_commits() -> None:
    ledger = PackingLedger()
    committer = Committer(ledger)
    check_until(committer, lambda: ledger.due == 0)
    committer.close()


def test_a_packing_that_fails_is_tried_again_later_and_ends_no_job() -> None:
    now = 0.0
    ledger = PackingLedger(StoreUnavailableError("503"))
    committer = Committer(ledger, clock=lambda: now)
    check_until(committer, lambda: ledger.first is None)
    for _ in range(100):
        committer.check()
        time.sleep(0.001)
    assert ledger.due == 2, "not at once"
    now = 301.0
    check_until(committer, lambda: ledger.due == 0)
    committer.close()


def test_a_packing_that_finds_another_run_ends_the_job() -> None:
    ledger = PackingLedger(JobRunningError("another run"))
    committer = Committer(ledger)
    with pytest.raises(JobRunningError):
        check_until(committer, lambda: False)
    committer.close()
