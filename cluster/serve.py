"""Endless input: a queue of S3 events, worked on as they come, until a stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from mattemill.cluster.committer import Commits, Committer
from mattemill.cluster.engine_builds import build_engines
from mattemill.cluster.job import (
    DEFAULT_STAGES,
    Clocked,
    OnProgress,
    Prepared,
    figures_now,
    prepare_for,
    run_where,
    summary_of,
    wake,
)
from mattemill.cluster.main_loop import MOST_PENDING
from mattemill.cluster.metrics.watch import watched
from mattemill.cluster.progress import JobSummary, Progress
from mattemill.cluster.serve_feed import EventFeed, TellingLedger
from mattemill.cluster.tracing.export import trace_exporter
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import MattemillError, UsageError
from mattemill.pipeline.events.checks import check_notifications, check_queue, check_sink
from mattemill.pipeline.events.intake import Intake
from mattemill.pipeline.events.judge import Judge
from mattemill.pipeline.events.queue import Queue, QueueFacts
from mattemill.pipeline.events.references import EventSource
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.events.sqs_queue import SqsQueue
from mattemill.pipeline.events.stats import EventStats
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.outcome import Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.storage.location import S3, Location, open_store, split_uri
from mattemill.pipeline.storage.store import Entry

if TYPE_CHECKING:
    from mattemill.cluster.cell import Cell
    from mattemill.cluster.cells.cells_loop import CellsLoop

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What a `serve` would do: its queue as it is now, where mattes go, its settings. Nothing is received for it.

    source: root of what is taken. warnings: what would not work well.
    """

    queue: str
    facts: QueueFacts
    source: str
    sink: str
    fingerprint: str | None
    shard_size: int
    settings: EventSettings
    device: str
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Fields by name; the queue's attributes below `queue_is`, the settings among the others."""
        return {
            "queue": self.queue,
            "queue_is": {
                "name": self.facts.name,
                "visibility_seconds": self.facts.visibility,
                "messages_waiting": self.facts.waiting,
                "messages_in_flight": self.facts.in_flight,
                "dead_letter_after": self.facts.dead_letter_after,
            },
            "source": self.source,
            "sink": self.sink,
            "fingerprint": self.fingerprint,
            "shard_size": self.shard_size,
            "max_age": self.settings.max_age,
            "max_receives": self.settings.max_receives,
            "poll": self.settings.poll,
            "idle_exit": self.settings.idle_exit,
            "device": self.device,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class ServeSummary:
    """A `serve` that has ended. job: as of a job; `drained` means stopped, which is how a service ends."""

    job: JobSummary
    events: EventStats
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The job's fields, and `events`."""
        return {**self.job.to_json(), "events": self.events.to_json(), "warnings": list(self.warnings)}


@dataclass(frozen=True, slots=True)
class _Opened:
    queue: Queue
    facts: QueueFacts
    source: EventSource
    sink: Location
    warnings: tuple[str, ...]


def serve(
    queue: str,
    sink: str,
    config: JobConfig,
    settings: EventSettings | None = None,
    *,
    source: str | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    stages: str = DEFAULT_STAGES,
) -> ServeSummary:
    """Cut what the events in a queue tell of, until `stop` is set or the queue was idle for `settings.idle_exit`.

    queue: URL. source: s3://bucket/prefix whose events are taken; None takes all. on_progress, stop, stages: as
    `run_job`. A message is deleted once all that it told of is committed; what did not end before a stop is given back.

    Raises QueueError, UsageError, and what `run_job` raises; what had ended by then is committed, and the rest comes
    back from the queue.
    """
    settings = settings or EventSettings()
    stop = stop or threading.Event()
    now = time.monotonic()
    clocked = Clocked(now, now)
    opened = _open(queue, sink, config, settings, source)
    for warning in opened.warnings:
        _log.warning("%s", warning)

    def tell(note: str) -> None:
        if on_progress is not None:
            on_progress(Progress(0, 0, None, 0.0, time.monotonic() - clocked.started, None, note=note))

    job = prepare_for(opened.source, opened.sink, config, stages, wait=config.stall_timeout, on_wait=tell, stop=stop)
    clocked.phase("prepare")
    with Ledger.open(sink, config, job.fingerprint, job.source.root, model_hashes=job.model_hashes) as ledger:
        ledger.follow()
        clocked.phase("ledger")
        cells: list[Cell] = []
        loops: list[CellsLoop] = []
        intake = Intake(
            opened.queue,
            opened.facts,
            opened.source,
            Judge(ledger, _head(config)),
            _failing(ledger),
            settings,
            config.shard_size,
        )
        traces = trace_exporter(config, job.fingerprint)
        committer = Committer(TellingLedger(ledger, intake.committed), job=job.fingerprint, traces=traces)
        on_progress = watched(on_progress, config, ledger, committer, lambda: figures_now(cells, loops))
        service = settings.idle_exit is None
        feed = EventFeed(
            intake,
            lambda: wants(cells, loops, committer, service=service),
            lambda: wake([*cells, *loops]),
            stop,
        )
        feed.start()
        try:
            summary = _work(job, feed, committer, ledger, settings, cells, loops, on_progress, stop, stages, clocked)
        finally:
            committer.close()
            feed.close()
            if traces is not None:
                traces.close()
        if not summary.drained:
            ledger.finish_job()
    return ServeSummary(summary, feed.stats, opened.warnings)


def plan_serve(
    queue: str, sink: str, config: JobConfig, settings: EventSettings, *, source: str | None = None
) -> ServePlan:
    """What `serve` with the same arguments would do; receives and writes nothing. Raises as it does at its start."""
    opened = _open(queue, sink, config, settings, source)
    job = None
    warnings = opened.warnings
    try:
        job = prepare_for(opened.source, opened.sink, config)
        Ledger.open(sink, config, job.fingerprint, job.source.root, read_only=True)
    except UsageError:
        raise
    except MattemillError as error:
        warnings = (*warnings, str(error))
    return ServePlan(
        queue=queue,
        facts=opened.facts,
        source=opened.source.root,
        sink=opened.sink.root,
        fingerprint=job.fingerprint if job is not None else None,
        shard_size=config.shard_size,
        settings=settings,
        device=job.layout.device if job is not None else config.device,
        warnings=warnings,
    )


def _open(url: str, sink: str, config: JobConfig, settings: EventSettings, source: str | None) -> _Opened:
    where = Location.parse(sink)
    place = Location.parse(source) if source is not None else None
    events = EventSource(place, where)
    check_sink(where, place)
    queue = SqsQueue(url, config.region)
    facts = queue.facts()
    warnings = check_queue(facts, settings)
    configuration = _notifications_of(where, config)
    if configuration is not None:
        check_notifications(configuration, facts, where)
    return _Opened(queue, facts, events, where, tuple(warnings))


def _notifications_of(sink: Location, config: JobConfig) -> dict[str, Any] | None:
    """The events that the sink's bucket sends; None for a folder, and when we may not look."""
    if sink.scheme != S3:
        return None
    from mattemill.pipeline.storage.s3_client import S3Options, s3_client

    client = s3_client(S3Options(config.endpoint_url, config.region, config.fetch_threads))
    try:
        return dict(client.get_bucket_notification_configuration(Bucket=sink.bucket))
    except (BotoCoreError, ClientError) as error:
        _log.info("notifications of the sink not seen bucket=%s error=%s", sink.bucket, error)
        return None


def _work(
    job: Prepared,
    feed: EventFeed,
    committer: Committer,
    ledger: Ledger,
    settings: EventSettings,
    cells: list[Cell],
    loops: list[CellsLoop],
    on_progress: OnProgress | None,
    stop: threading.Event,
    stages: str,
    clocked: Clocked,
) -> JobSummary:
    tell = _telling(on_progress, feed) if on_progress is not None else None
    # A service has its workers ready before the first event; a run that ends with the queue may need none.
    if not feed.wait_for_first(0.0 if settings.idle_exit is None else None):
        return summary_of(job, feed, committer, ledger, clocked, stop.is_set())
    if not (job.elsewhere or build_engines(job.config, job.place, tell, stop, clocked.started)):
        return summary_of(job, feed, committer, ledger, clocked, stop.is_set())
    clocked.phase("engines")
    return run_where(
        job,
        feed,
        committer,
        ledger,
        cells,
        loops,
        seen=lambda: feed.asked,  # an empty queue is no standstill, nor is one that is away
        stages=stages,
        on_progress=tell,
        stop=stop,
        clocked=clocked,
        ready_first=settings.idle_exit is None,
    )


def _telling(on_progress: OnProgress, feed: EventFeed) -> OnProgress:
    """Adds the queue to what is told, and says when it is the queue that is waited for."""

    def tell(progress: Progress) -> None:
        waits = progress.stages and all(stage.workers for stage in progress.stages) and not feed.stats.held
        note = "waiting for events" if waits and not progress.draining else progress.note
        on_progress(replace(progress, events=feed.stats, note=note))

    return tell


def wants(cells: Sequence[Cell], loops: Sequence[CellsLoop], committer: Commits, *, service: bool) -> bool:
    """Whether a cell would take another shard, and has workers for it.

    What a service received before could only be given back when they do not come up, and a start that fails again and
    again would use up the receives of messages that nobody ever looked at. Other runs start for the first event.
    """
    if loops:
        # A run that ends with the queue starts the workers of a cell for its first shard.
        return loops[0].wants_shards(workers_up=service)
    if not cells:
        return not service
    coordinator = cells[0].coordinator
    # Tuples: the thread of the cell starts and ends workers meanwhile.
    up = all(any(worker.ready for worker in tuple(pool.workers.values())) for pool in coordinator.pools.values())
    return up and coordinator.wants_shards and committer.pending < MOST_PENDING


def _head(config: JobConfig) -> Callable[[ImageRef], Entry]:
    def head(ref: ImageRef) -> Entry:
        location, key = split_uri(ref.uri)
        return open_store(location, config).head(key)

    return head


def _failing(ledger: Ledger) -> Callable[[ImageRef, int, Failure], None]:
    def fail(ref: ImageRef, generation: int, failure: Failure) -> None:
        shard = make_shard([ref], generation)
        ledger.commit(shard, {ref.key: failure})

    return fail
