"""The requests that a plan counts are those that the code makes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from memory_store import MemoryStore

from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.requests import count_bytes, count_requests
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.holder import this_process
from mattemill.pipeline.ledger.layout import layout_below
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.outcome import Facts, Failure, Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import cut_into_shards


class CountingStore:
    """A store in memory that counts what it is asked for."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.asked[name] += 1
            return method(*arguments, **named)

        return counted


def run_ledger(images: int, shard_size: int, failing: bool) -> Counter[str]:
    """The requests of a job's ledger, from its opening to its end; no heartbeat, which goes by time."""
    store = CountingStore()
    refs = [ImageRef(f"k{i:04d}", f"s3://in/k{i:04d}", f"e{i}", 10) for i in range(images)]
    outcome: Outcome = Failure(Reason.NO_SUBJECT, "cut", "none") if failing else Matte("k", 10, Facts(), 1, 1)
    with Ledger.at(
        store,  # type: ignore[arg-type]
        layout_below("out/"),
        JobConfig(),
        "0123456789abcdef",
        "s3://in/",
        model_hashes={},
        holder=this_process("run", "2026-11-23T00:00:00+00:00"),
    ) as ledger:
        for shard in list(cut_into_shards(ledger.due(refs), shard_size)):
            assert ledger.commit(shard, {ref.key: outcome for ref in shard.refs})
        ledger.finish_job()
    return store.asked


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("images", [8, 40, 41])
def test_the_ledgers_requests_are_those_that_the_plan_counts(images: int, failing: bool):
    asked = run_ledger(images, 8, failing)
    assume = Assumptions(shard_size=8, image_failures=1.0 if failing else 0.0, reasons=1)
    planned = count_requests(images, 0.0, assume)
    # Photographs, outputs and the source's listing are not the ledger's.
    assert asked["put"] == planned.puts - planned.outputs
    assert asked["get"] + asked["head"] == planned.gets - planned.photographs
    assert asked["list"] == planned.lists - planned.listing
    assert asked["delete"] == planned.deletes


def test_a_shard_has_as_many_log_files_as_it_has_different_reasons():
    assume = Assumptions(shard_size=256, image_failures=0.02, reasons=3)
    drawn = random.Random(1)
    seen = 0
    for _ in range(400):
        seen += len({drawn.randrange(3) for _ in range(256) if drawn.random() < 0.02})
    assert count_requests(400 * 256, 0.0, assume).failure_log == pytest.approx(seen, rel=0.05)


def test_signs_of_life_go_by_time_and_all_else_by_images():
    assume = Assumptions()
    short, long = count_requests(10_000, 60.0, assume), count_requests(10_000, 3660.0, assume)
    assert long.lease_puts - short.lease_puts == 360
    assert long.lease_lists - short.lease_lists == 120
    assert (long.gets, long.outputs) == (short.gets, short.outputs)


def test_failures_write_no_output_but_a_preview_twice():
    assume = Assumptions(image_failures=0.5, preview_bytes=1000.0)
    moved = count_bytes(100, 2.0, 100_000.0, 50_000.0, assume)
    assert (moved.read, moved.written, moved.previews) == (20_000_000, 5_000_000, 100_000)
