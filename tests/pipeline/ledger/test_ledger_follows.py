"""A ledger that follows its own commits: for endless input, where a key comes again in the same run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from ledger_case import LAYOUT, Clock, a_failure, a_matte, a_ref, open_ledger, run_job
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.output_key import output_key
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import make_shard


def test_what_was_committed_is_not_due_and_its_next_content_is_one_generation_up() -> None:
    store, clock, ref = MemoryStore(), Clock(), a_ref("a.jpg")
    with open_ledger(store, clock) as ledger:
        ledger.follow()
        assert ledger.generation_due(ref) == 0
        ledger.commit(make_shard([ref]), {ref.key: a_matte(ref)})
        assert ledger.generation_due(ref) is None
        assert ledger.generation_due(replace(ref, etag="new")) == 1
        assert ledger.committed()[ref.key].generation == 0
        assert (ledger.counts.new, ledger.counts.already_done, ledger.counts.changed) == (1, 1, 1)


def test_a_ledger_that_does_not_follow_spends_nothing_on_it() -> None:
    store, clock, ref = MemoryStore(), Clock(), a_ref("a.jpg")
    with open_ledger(store, clock) as ledger:
        ledger.commit(make_shard([ref]), {ref.key: a_matte(ref)})
        assert len(ledger.committed()) == 0


@pytest.mark.parametrize("ends", [a_matte, lambda ref: a_failure()], ids=["matte", "failure"])
def test_what_another_job_removed_is_due_once(ends: Callable[[ImageRef], Outcome]) -> None:
    store, clock, ref = MemoryStore(), Clock(), a_ref("a.jpg")
    run_job(store, clock, [ref])
    cutout = JobConfig(output="cutout")
    run_job(store, clock, [ref], lambda ref, generation: a_failure(), fingerprint="c" * 16, config=cutout)
    with open_ledger(store, clock) as ledger:
        ledger.follow()
        assert ledger.generation_due(ref) == 1
        ledger.commit(make_shard([ref], 1), {ref.key: ends(ref)})
        assert ledger.generation_due(ref) is None
        assert ledger.generation_due(replace(ref, etag="new")) == 2


def test_the_matte_of_an_older_content_of_the_same_run_goes_when_the_newer_one_fails() -> None:
    store, clock, ref = MemoryStore(), Clock(), a_ref("a.jpg")
    matte = LAYOUT.output(output_key(ref.key, "png"))
    newer = replace(ref, etag="new")
    with open_ledger(store, clock) as ledger:
        ledger.follow()
        store.put(matte, b"matte", content_type="image/png")
        ledger.commit(make_shard([ref]), {ref.key: a_matte(ref)})
        assert matte in {entry.key for entry in store.list(LAYOUT.output(""))}
        ledger.commit(make_shard([newer], 1), {ref.key: a_failure()})
        assert matte not in {entry.key for entry in store.list(LAYOUT.output(""))}
        assert ledger.loose_files == 2
        ledger.finish_job()
        assert ledger.loose_files == 0
        assert ledger.generation_due(newer) is None
