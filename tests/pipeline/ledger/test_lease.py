"""The run lease: two drivers never write to one sink at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from ledger_case import (
    FINGERPRINT,
    LAYOUT,
    ROOT,
    Clock,
    a_holder,
    all_cut,
    newest,
    open_ledger,
    outcomes_of,
    some_refs,
)
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import JobRunningError, LedgerError
from mattemill.pipeline.ledger.holder import Holder, process_lives, this_process
from mattemill.pipeline.ledger.lease import EXPIRES_AFTER, RunLease, acquire_lease, read_lease
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.storage.store import Store

OTHER = "f" * 16


def acquire(store: Store, run: str, lives: bool | None, host: str = "driver") -> RunLease:
    return acquire_lease(store, LAYOUT, FINGERPRINT, a_holder(run, host), lives=lambda holder: lives)


def test_a_living_holder_is_named_and_keeps_the_lease(store: Store) -> None:
    acquire(store, "first", None)
    with pytest.raises(JobRunningError, match=r"host driver, process 7, since 2026-03-01T23:00:00\+00:00"):
        acquire(store, "second", True)
    held = read_lease(store, LAYOUT)
    assert held is not None
    assert held.holder.run_id == "first"


def test_a_released_lease_is_taken_at_once(store: Store) -> None:
    acquire(store, "first", None).release()
    assert acquire(store, "second", True).number == 1


def test_a_holder_whose_process_is_gone_is_replaced_at_once(store: Store) -> None:
    first = acquire(store, "first", None)
    second = acquire(store, "second", False)
    second.check()
    with pytest.raises(JobRunningError, match="was taken over by another one"):
        first.check()


def test_a_holder_on_another_host_is_replaced_only_after_it_has_been_silent(clock: Clock) -> None:
    store = MemoryStore(now=lambda: clock.at)
    first = acquire(store, "first", None)
    clock.pass_by(seconds=EXPIRES_AFTER - 1)
    with pytest.raises(JobRunningError, match=r"last sign of life is 59 s old.*run again in 1 s"):
        acquire(store, "second", None)
    first.beat()
    clock.pass_by(seconds=EXPIRES_AFTER - 1)
    with pytest.raises(JobRunningError, match="59 s old"):
        acquire(store, "second", None)
    clock.pass_by(seconds=1)
    acquire(store, "second", None).check()
    with pytest.raises(JobRunningError):
        first.check()


def test_the_age_of_a_heartbeat_is_measured_by_the_stores_clock(store: Store) -> None:
    """The holder's own clock, years ahead or behind, plays no part."""
    for since in ("1999-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"):
        holder = replace(a_holder(f"of {since}"), since=since)
        lease = acquire_lease(store, LAYOUT, FINGERPRINT, holder, lives=lambda holder: False)
        with pytest.raises(JobRunningError, match=f"since {since[:4]}.*last sign of life is"):
            acquire(store, "newcomer", None)
        lease.check()
    assert [entry.key for entry in store.list(LAYOUT.leases) if "knock" in entry.key] == []


def test_an_old_holder_never_becomes_the_highest_again(store: Store) -> None:
    first = acquire(store, "first", None)
    second = acquire(store, "second", False)
    first.beat()
    second.release()
    with pytest.raises(JobRunningError):
        first.check()
    acquire(store, "third", True).check()
    with pytest.raises(JobRunningError):
        first.check()


def test_old_leases_are_cleared_away(store: Store) -> None:
    for number in range(4):
        acquire(store, str(number), False)
    assert [entry.key for entry in store.list(LAYOUT.leases)] == [LAYOUT.lease(3)]


def test_of_many_drivers_that_start_at_once_one_gets_the_lease(store: Store) -> None:
    start = threading.Barrier(8)

    def try_to(run: int) -> bool:
        start.wait()
        try:
            acquire(store, str(run), True)
        except JobRunningError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to, range(8))) == 1


def test_a_number_that_was_cleared_away_between_looking_and_taking_is_given_back() -> None:
    """While a newcomer looks at lease 0, others take 1 and 2 and clear 0 and 1 away."""
    memory = MemoryStore()
    acquire(memory, "first", None).release()

    class Slow(MemoryStore):
        def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
            if if_absent and key == LAYOUT.lease(1):
                acquire(memory, "second", True).release()
                acquire(memory, "third", True)
            super().put(key, data, content_type=content_type, if_absent=if_absent)

    slow = Slow()
    slow.objects = memory.objects
    with pytest.raises(JobRunningError):
        acquire(slow, "newcomer", True)
    held = read_lease(memory, LAYOUT)
    assert held is not None
    assert held.holder.run_id == "third"
    assert list(memory.objects) == [LAYOUT.lease(2)]


def test_a_run_that_was_taken_over_commits_nothing_more(store: Store, clock: Clock) -> None:
    shards = [make_shard(some_refs(8)[:4]), make_shard(some_refs(8)[4:])]
    first = open_ledger(store, clock)
    first.commit(shards[0], outcomes_of(shards[0], all_cut))
    with open_ledger(store, clock):
        with pytest.raises(JobRunningError, match="taken over"):
            first.commit(shards[1], outcomes_of(shards[1], all_cut))
        with pytest.raises(JobRunningError, match="taken over"):
            first.finish_job()
        with pytest.raises(JobRunningError, match="taken over"):
            first.check()
    assert len(newest(store)) == 4


def test_a_job_of_other_settings_is_refused_by_name_while_one_writes_to_the_sink(store: Store) -> None:
    first = acquire(store, "first", None)
    for lives in (True, None):
        with pytest.raises(JobRunningError, match=f"another job is writing to this sink: job {FINGERPRINT}, host driv"):
            acquire_lease(store, LAYOUT, OTHER, a_holder("other"), lives=lambda holder, lives=lives: lives)
    with pytest.raises(JobRunningError, match=f"a run of the same job is writing to this sink: job {FINGERPRINT}"):
        acquire(store, "second", True)
    first.check()
    first.release()
    acquire_lease(store, LAYOUT, OTHER, a_holder("other"), lives=lambda holder: True).check()
    held = read_lease(store, LAYOUT)
    assert held is not None
    assert held.fingerprint == OTHER
    with pytest.raises(JobRunningError, match=f"taken over by another one .job {OTHER}, host driver, process 7"):
        first.check()


def test_the_end_of_a_killed_job_of_other_settings_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    acquire(store, "first", None)
    acquire(store, "again", False)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    acquire_lease(store, LAYOUT, OTHER, a_holder("other"), lives=lambda holder: False)
    assert f"killed job of other settings job={FINGERPRINT}" in caplog.text


def test_a_file_in_a_folder_below_the_leases_is_no_lease(store: Store) -> None:
    store.put(f"{LAYOUT.leases}{OTHER}/00000007.json", b"{}", content_type="")
    lease = acquire(store, "first", True)
    lease.check()
    assert lease.number == 0


def test_a_second_run_of_the_same_command_is_refused_while_this_process_lives(clock: Clock) -> None:
    store = MemoryStore()
    arguments = (store, LAYOUT, JobConfig(), FINGERPRINT, ROOT)
    with Ledger.at(*arguments), pytest.raises(JobRunningError, match=f"process {os.getpid()}"):
        Ledger.at(*arguments)
    Ledger.at(*arguments).close()


def test_a_ledger_beats_until_it_is_closed() -> None:
    store = MemoryStore()
    lease = acquire_lease(store, LAYOUT, FINGERPRINT, this_process("run", ""))
    beaten = threading.Event()

    class Notices(MemoryStore):
        def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
            super().put(key, data, content_type=content_type, if_absent=if_absent)
            beaten.set()

    lease._store = Notices()
    lease.start_beating(0.001)
    assert beaten.wait(30)
    lease.release()
    assert lease._thread is not None
    assert not lease._thread.is_alive()
    held = read_lease(lease._store, LAYOUT)
    assert held is not None
    assert held.released
    lease.release()


def test_this_process_lives_and_one_with_its_number_of_another_time_does_not() -> None:
    mine = this_process("run", "")
    assert process_lives(mine) is True
    assert process_lives(replace(mine, started="1")) is False


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot_id": "another"}, {"pid_namespace": "pid:[1]"}])
def test_a_process_of_another_host_kernel_or_container_cannot_be_judged(change: dict[str, str]) -> None:
    assert process_lives(replace(this_process("run", ""), **change)) is None


def test_a_killed_process_is_dead_even_before_its_parent_collects_it() -> None:
    code = (
        "from mattemill.pipeline.ledger.holder import this_process; import dataclasses, json, sys; "
        "print(json.dumps(dataclasses.asdict(this_process('run', ''))), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        import json

        assert child.stdout is not None
        holder = Holder(**json.loads(child.stdout.readline()))
        assert process_lives(holder) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process_lives(holder) is False
    assert process_lives(holder) is False


def test_a_lease_that_cannot_be_read_is_named(clock: Clock) -> None:
    store = MemoryStore()
    store.put(LAYOUT.lease(0), b"{}", content_type="")
    with pytest.raises(LedgerError, match=r"00000000\.json: is no run lease"):
        acquire(store, "first", True)
