"""Commits closed shards in a thread of its own, so that a slow PUT does not stop the coordinator."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from mattemill.pipeline.errors import JobRunningError, LedgerError, StoreError
from mattemill.pipeline.outcome import Failure, Outcome
from mattemill.pipeline.shard import Shard

_log = logging.getLogger(__name__)

_THREADS = 2  # one PUT is written while the next table is made
_PACK_PAUSE = 300.0  # seconds until packing is tried again after it failed
_CHECK_SECONDS = 30.0  # between looks at the lease, when nothing is committed


class CommitLedger(Protocol):
    """What the committer needs of a ledger."""

    def commit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> bool: ...

    def check(self) -> None: ...

    def pack_due(self) -> bool: ...

    def pack_some(self) -> None: ...


class TraceSink(Protocol):
    """Where the traces of committed images go."""

    def committed(self, shard: Shard, outcomes: Mapping[str, Outcome], now: float) -> None: ...


class Commits(Protocol):
    """Where closed shards go: the ledger by way of `Committer`, or from a cell to its driver."""

    @property
    def pending(self) -> int: ...

    def submit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> None: ...

    def check(self) -> None: ...

    def drain(self) -> None: ...


class Committer:
    """`submit` returns at once; `check` raises what a commit raised.

    pending: shards not committed yet; the job takes no new shard while they are many. cut, failed, shards: committed by
    this run. job: its fingerprint, for the log, which has a line for each shard and each failure. traces: told of each
    shard that this run wrote.
    """

    def __init__(
        self,
        ledger: CommitLedger,
        clock: Callable[[], float] = time.monotonic,
        *,
        job: str = "",
        traces: TraceSink | None = None,
    ) -> None:
        self._ledger = ledger
        self._traces = traces
        self._job = job
        self._clock = clock
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mattemill-commit")
        self._running: deque[tuple[Future[tuple[bool, float]], Shard, Mapping[str, Outcome]]] = deque()
        self._looking: Future[None] | None = None
        self._looked = clock()
        self._packs = ThreadPoolExecutor(1, thread_name_prefix="mattemill-pack")
        self._packing: Future[None] | None = None
        self._pack_after = clock()
        self.cut = 0
        self.failed: dict[str, int] = {}
        self.shards = 0

    @property
    def pending(self) -> int:
        """Shards that are not committed yet."""
        return len(self._running)

    def submit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> None:
        """Commit this shard soon."""
        self._running.append((self._pool.submit(self._commit, shard, outcomes), shard, outcomes))

    def check(self) -> None:
        """Count what is committed. Raises what a commit raised, and JobRunningError when another run took over."""
        while self._running and self._running[0][0].done():
            self._count()
        if self._looking is not None and self._looking.done():
            self._looking.result()
            self._looking = None
        now = self._clock()
        if self._looking is None and now - self._looked >= _CHECK_SECONDS:
            self._looked = now
            self._looking = self._pool.submit(self._ledger.check)
        self._pack(now)

    def drain(self) -> None:
        """Wait for all commits. Raises what one raised."""
        while self._running:
            self._count()

    def close(self) -> None:
        """End the threads; what was not begun is not committed. Waits for the file that is being packed."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._packs.shutdown(wait=True, cancel_futures=True)

    def _pack(self, now: float) -> None:
        """Pack committed shards behind the commits, a piece at a time. A failure costs nothing but the packing."""
        if self._packing is not None and self._packing.done():
            packing, self._packing = self._packing, None
            try:
                packing.result()
            except JobRunningError:
                raise
            except (StoreError, LedgerError) as error:
                self._pack_after = now + _PACK_PAUSE
                _log.warning("shards not packed error=%s next=again_in_%.0f_s", error, _PACK_PAUSE)
        if self._packing is None and now >= self._pack_after and self._ledger.pack_due():
            self._packing = self._packs.submit(self._ledger.pack_some)

    def _commit(self, shard: Shard, outcomes: Mapping[str, Outcome]) -> tuple[bool, float]:
        """Whether this run wrote it, and when it stood (Unix seconds)."""
        wrote = self._ledger.commit(shard, outcomes)
        return wrote, time.time()

    def _count(self) -> None:
        future, shard, outcomes = self._running.popleft()
        wrote, at = future.result()
        if wrote and self._traces is not None:
            self._traces.committed(shard, outcomes, at)
        self.shards += 1
        failed = 0
        for key, outcome in outcomes.items():
            if isinstance(outcome, Failure):
                failed += 1
                _log.info(
                    "image failed job=%s shard=%s key=%r reason=%s stage=%s message=%r",
                    self._job,
                    shard.id,
                    key,
                    outcome.reason,
                    outcome.stage,
                    outcome.message,
                )
                self.failed[outcome.reason] = self.failed.get(outcome.reason, 0) + 1
            else:
                self.cut += 1
        _log.info(
            "shard committed job=%s shard=%s images=%d failed=%d new=%s",
            self._job,
            shard.id,
            len(outcomes),
            failed,
            wrote,
        )
