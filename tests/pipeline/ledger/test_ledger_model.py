"""Random lives of a sink against a plain model: listings that change, failures, retries, kills, partial shards."""

from __future__ import annotations

from datetime import datetime

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledger_case import (
    Clock,
    DyingStore,
    Killed,
    a_failure,
    a_matte,
    a_ref,
    assert_nothing_lost,
    assert_whole,
    failures_in_log,
    failures_of_commits,
    newest,
    newest_of_commits,
    open_ledger,
    outcomes_of,
)
from memory_store import MemoryStore

from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import cut_into_shards, make_shard

KEYS = [f"photos/{letter}.jpg" for letter in "abcdefghij"]
REASONS = [Reason.NO_SUBJECT, Reason.TIMED_OUT]


class SinkLife(RuleBasedStateMachine):
    """Runs of drivers on one sink, each of which may be killed after any of its writes."""

    @initialize()
    def start(self) -> None:
        self.clock = Clock("2026-03-01T20:00:00+00:00")
        self.store = DyingStore(MemoryStore())
        self.listing: dict[str, str | None] = dict.fromkeys(KEYS[:6], "v1")

    @rule(
        replaced=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["v1", "v2", None]), max_size=3),
        removed=st.sets(st.sampled_from(KEYS), max_size=2),
        hours=st.integers(0, 30),
        failing=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(REASONS)),
        retry=st.sampled_from([None, None, RetrySelection(), RetrySelection(Reason.TIMED_OUT)]),
        shard_size=st.integers(1, 5),
        killed_after=st.one_of(st.none(), st.integers(0, 25)),
        stops_after=st.one_of(st.none(), st.integers(0, 4)),
        finishes=st.booleans(),
        sizes=st.sampled_from([(2**26, 2**25), (25_000, 12_000), (30_000, 1)]),
    )
    def a_driver_runs(
        self,
        replaced: dict[str, str | None],
        removed: set[str],
        hours: int,
        failing: dict[str, Reason],
        retry: RetrySelection | None,
        shard_size: int,
        killed_after: int | None,
        stops_after: int | None,
        finishes: bool,
        sizes: tuple[int, int],
    ) -> None:
        """The listing changes, time passes, a driver runs.

        stops_after: shards, after which it commits half of the next and ends (SIGTERM). sizes: of packed files.
        """
        self.listing |= replaced
        for key in removed:
            self.listing.pop(key, None)
        self.clock.pass_by(hours=hours)

        def end(ref: ImageRef, generation: int) -> Outcome:
            return a_failure(failing[ref.key]) if ref.key in failing else a_matte(ref)

        wanted = self.due_by_the_model(retry)
        before = newest_of_commits(self.store.shard_files)
        self.store.writes_left = killed_after
        done: dict[str, int] = {}
        ended = False
        try:
            with open_ledger(self.store, self.clock) as ledger:
                refs = [a_ref(key, etag) for key, etag in sorted(self.listing.items())]
                found = list(ledger.due(refs, retry))
                assert {ref.key: generation for ref, generation in found} == wanted
                assert len(found) == len(wanted) == ledger.counts.due
                assert ledger.counts.listed == len(refs)
                for number, shard in enumerate(cut_into_shards(found, shard_size)):
                    stops = stops_after == number
                    part = make_shard(shard.refs[: len(shard.refs) // 2], shard.generation) if stops else shard
                    if part.refs:
                        assert ledger.commit(part, outcomes_of(part, end))
                        done |= {ref.key: part.generation for ref in part.refs}
                    if stops:
                        break
                if finishes:
                    ledger.finish_job(largest=sizes[0], small=sizes[1])
            ended = True
        except Killed:
            pass
        self.store.writes_left = None
        after = newest_of_commits(self.store.shard_files)
        for key, generation in done.items():
            assert after[key] == (generation, failing.get(key), self.listing[key] or "e" * 32)
        if ended:
            assert after.keys() - before.keys() == {key for key, generation in done.items() if generation == 0}
            if finishes:
                assert_whole(self.store)

    def due_by_the_model(self, retry: RetrySelection | None) -> dict[str, int]:
        """key -> generation, from everything that was ever committed."""
        rows = newest_of_commits(self.store.shard_files)
        wanted: dict[str, int] = {}
        for key, etag in self.listing.items():
            if key not in rows:
                if retry is None:
                    wanted[key] = 0
                continue
            generation, reason, row_etag = rows[key]
            if retry is None:
                if etag is not None and etag != row_etag:
                    wanted[key] = generation + 1
            elif reason is not None and retry.reason in (None, reason):
                wanted[key] = generation + 1
        return wanted

    @invariant()
    def every_reader_finds_the_newest_row_of_every_committed_key(self) -> None:
        assert_nothing_lost(self.store)

    @invariant()
    def the_log_holds_no_row_twice_and_none_that_was_not_committed(self) -> None:
        assert failures_in_log(self.store) <= failures_of_commits(self.store.shard_files)

    def teardown(self) -> None:
        """A last run to its end: every listed photograph has its one outcome, and nothing is due any more."""
        if not hasattr(self, "store"):
            return
        refs = [a_ref(key, etag) for key, etag in sorted(self.listing.items())]
        with open_ledger(self.store, self.clock) as ledger:
            for shard in cut_into_shards(ledger.due(refs), 3):
                ledger.commit(shard, outcomes_of(shard, lambda ref, generation: a_matte(ref)))
            ledger.finish_job()
        assert_whole(self.store)
        rows = newest(self.store)
        assert self.listing.keys() <= rows.keys()
        assert all(etag is None or rows[key].etag == etag for key, etag in self.listing.items())
        assert all(isinstance(row.finished_at, datetime) for row in rows.values())
        with open_ledger(self.store, self.clock) as ledger:
            assert list(ledger.due(refs)) == []


SinkLife.TestCase.settings = settings(
    max_examples=25, stateful_step_count=8, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSinkLife = SinkLife.TestCase
