"""The job: a source, a sink, a config; run to its end, or as far as it may."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from mattemill.cluster.committer import Committer
from mattemill.cluster.engine_builds import build_engines
from mattemill.cluster.feed import Feed, ShardFeed
from mattemill.cluster.gpu_nodes import find_place
from mattemill.cluster.layout import Layout, lay_out
from mattemill.cluster.metrics.cell_figures import CellFigures, figures_of
from mattemill.cluster.metrics.watch import watched
from mattemill.cluster.progress import JobPlan, JobSummary, ModelNeed, Progress
from mattemill.cluster.tracing.export import check_tracing, trace_exporter
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import Place, settled
from mattemill.pipeline.errors import ModelError, StoreError
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.models.cache import is_fetched
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.load import saliency_file, saliency_networks
from mattemill.pipeline.output_key import output_key
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.open import open_source
from mattemill.pipeline.sources.source import Source
from mattemill.pipeline.storage.location import Location, open_store, split_uri

if TYPE_CHECKING:
    from mattemill.cluster.cell import Cell
    from mattemill.cluster.cells.cells_loop import CellsLoop
    from mattemill.cluster.main_loop import MainLoop

_log = logging.getLogger(__name__)

DEFAULT_STAGES = "mattemill.pipeline.stages.build"
"""The module whose `build_stage(name, config, sink)` makes a stage and whose `model_hashes(config)` names models."""

_EXAMPLES = 5
_FIRST_LOOK = 0.5  # seconds of listing before Ray is started: enough to see that nothing is due

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that makes sense: all that can be known before anything is written.

    config: with device, engine and precision settled as `place` has them. layout: its device is `place` as text.
    """

    source: Source
    sink: Location
    config: JobConfig
    model_hashes: Mapping[str, str]
    fingerprint: str
    place: Place
    layout: Layout
    elsewhere: bool  # the GPUs are on other nodes than the driver


@dataclass(slots=True)
class Clocked:
    """Seconds by phase of the start."""

    started: float
    last: float
    setup: dict[str, float] = field(default_factory=dict)

    def phase(self, name: str) -> None:
        now = time.monotonic()
        self.setup[name] = now - self.last
        self.last = now


def prepare(source: str, sink: str, config: JobConfig, stages: str = DEFAULT_STAGES) -> Prepared:
    """Open the source, find the models and the device. Raises UsageError, SourceError, ModelError, DeviceError."""
    where = Location.parse(sink)
    return prepare_for(open_source(source, config, exclude=where), where, config, stages)


def prepare_for(
    source: Source,
    sink: Location,
    config: JobConfig,
    stages: str = DEFAULT_STAGES,
    *,
    wait: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Prepared:
    """`prepare` with a source that is open already. wait, on_wait, stop: as `find_place` has them."""
    _check_background(config)
    check_tracing(config)
    hashes: Mapping[str, str] = importlib.import_module(stages).model_hashes(config)
    if stages == DEFAULT_STAGES:
        for name in set(saliency_networks(config).values()):
            saliency_file(config, name)  # here and not in a worker: before Ray is started and anything is written
    found = find_place(config, wait=wait, on_wait=on_wait, stop=stop)
    config = _with_chain(settled(config, found.place), found.place)
    layout = lay_out(config, str(found.place), found.gpus, gpu_bytes=found.gpu_bytes)
    fingerprint = config.fingerprint(hashes)
    return Prepared(source, sink, config, hashes, fingerprint, found.place, layout, found.elsewhere)


def run_job(
    source: str,
    sink: str,
    config: JobConfig,
    *,
    limit: int | None = None,
    retry_failed: RetrySelection | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    stages: str = DEFAULT_STAGES,
) -> JobSummary:
    """Cut every photograph of the source that is due, and commit how each one ended.

    limit: do only so many of those that are due. retry_failed: do only these failures again. on_progress: called
    about twice a second from this thread. stop: when it is set, admission stops, what is in flight is finished within
    `config.drain_timeout`, and what has ended is committed. stages: module with `build_stage` and `model_hashes`.

    Returns when every image has its outcome in the sink (or after a stop). Raises MattemillErrors; what had ended
    by then is committed, and the same call goes on from there.
    """
    now = time.monotonic()
    clocked = Clocked(now, now)
    stop = stop or threading.Event()
    where = Location.parse(sink)

    def tell(note: str) -> None:
        if on_progress is not None:
            on_progress(Progress(0, 0, None, 0.0, time.monotonic() - clocked.started, None, note=note))

    opened = open_source(source, config, exclude=where)
    job = prepare_for(opened, where, config, stages, wait=config.stall_timeout, on_wait=tell, stop=stop)
    clocked.phase("prepare")
    # The first thing that is written is the sink's binding: a sink that cannot be written is found here.
    with Ledger.open(sink, config, job.fingerprint, job.source.root, model_hashes=job.model_hashes) as ledger:
        clocked.phase("ledger")
        cells: list[Cell] = []
        loops: list[CellsLoop] = []
        feed = ShardFeed(
            lambda: ledger.due(feed.counting(job.source.list()), retry_failed, head=_etag_lookup(config)),
            config.shard_size,
            limit,
            wake=lambda: wake([*cells, *loops]),
        )
        traces = trace_exporter(config, job.fingerprint)
        committer = Committer(ledger, job=job.fingerprint, traces=traces)
        on_progress = watched(on_progress, config, ledger, committer, lambda: figures_now(cells, loops))
        feed.start()
        try:
            if (
                feed.wait_for_first(_FIRST_LOOK)
                and not stop.is_set()
                and (job.elsewhere or build_engines(job.config, job.place, on_progress, stop, clocked.started))
            ):
                clocked.phase("engines")
                summary = run_where(
                    job,
                    feed,
                    committer,
                    ledger,
                    cells,
                    loops,
                    # Before and after the ledger's look-ups of ETags, which go in chunks; and what is left out.
                    seen=lambda: feed.seen + ledger.counts.listed + sum(tuple(job.source.skipped.values())),
                    stages=stages,
                    on_progress=on_progress,
                    stop=stop,
                    clocked=clocked,
                )
            else:
                summary = summary_of(job, feed, committer, ledger, clocked, stop.is_set())
        finally:
            feed.stop()
            committer.close()
            if traces is not None:
                traces.close()
        if not summary.drained:
            ledger.finish_job()
    return summary


def plan_job(
    source: str,
    sink: str,
    config: JobConfig,
    *,
    limit: int | None = None,
    retry_failed: RetrySelection | None = None,
    stages: str = DEFAULT_STAGES,
) -> JobPlan:
    """What `run_job` with the same arguments would do, from a listing: nothing is written, no pixel is read.

    Without its models a job has no fingerprint, so that what is done already cannot be told: then all is due.
    """
    _check_background(config)
    check_tracing(config)
    where = Location.parse(sink)
    opened = open_source(source, config, exclude=where)
    place = find_place(config).place
    device, config = str(place), _with_chain(settled(config, place), place)
    needs = _model_needs(config)
    fingerprint: str | None = None
    try:
        hashes: Mapping[str, str] = importlib.import_module(stages).model_hashes(config)
        fingerprint = config.fingerprint(hashes)
    except ModelError:
        if all(need.fetched for need in needs):
            raise  # not missing but wrong: the message says what
    listed = listed_bytes = due = due_bytes = 0
    examples: list[tuple[str, str]] = []

    def counted() -> Iterator[ImageRef]:
        nonlocal listed, listed_bytes
        for ref in opened.list():
            listed += 1
            listed_bytes += ref.size or 0
            yield ref

    ledger = None
    if fingerprint is not None:
        ledger = Ledger.open(sink, config, fingerprint, opened.root, read_only=True)
    refs = ledger.due(counted(), retry_failed, head=_etag_lookup(config)) if ledger else ((r, 0) for r in counted())
    sizes: dict[int, int] = {}
    for ref, generation in refs:
        if limit is not None and due >= limit:
            continue  # the listing is counted to its end
        due += 1
        due_bytes += ref.size or 0
        sizes[generation] = sizes.get(generation, 0) + 1
        if len(examples) < _EXAMPLES:
            examples.append((ref.key, output_key(ref.key, config.format)))
    return JobPlan(
        source=opened.root,
        sink=where.root,
        fingerprint=fingerprint,
        listed=listed,
        listed_bytes=listed_bytes,
        due=due,
        due_bytes=due_bytes,
        changed=ledger.counts.changed if ledger else 0,
        overwritten=ledger.counts.overwritten if ledger else 0,
        already_done=ledger.counts.already_done if ledger else 0,
        failed_before=sum(row.failed for row in ledger.committed().values()) if ledger else 0,
        skipped=dict(opened.skipped),
        shards=sum(ceil(n / config.shard_size) for n in sizes.values()),
        shard_size=config.shard_size,
        examples=tuple(examples),
        models=needs,
        device=device,
        placement=lay_out(config, device, 0).plan.placement if device == "cpu" else config.placement,
    )


def _with_chain(config: JobConfig, place: Place) -> JobConfig:
    """The settings, fused where the device chain is asked for. Raises ConfigError where it cannot be had."""
    if config.device_chain == "off":
        return config
    from mattemill.pipeline.device_chain.open_chain import check_chain

    check_chain(config, place)
    return replace(config, placement="fused")


def _check_background(config: JobConfig) -> None:
    """Raises ConfigError when the background is a file that is no picture: here, and not in every worker."""
    if config.background_picture is not None:
        # Imported here: most jobs have none, and a job without work shall not wait for OpenCV.
        from mattemill.pipeline.stages.matte import load_background

        load_background(config)


def _model_needs(config: JobConfig) -> tuple[ModelNeed, ...]:
    """The networks that the settings name, and whether their files are here."""
    needs = [_model_need(config, role, name) for role, name in saliency_networks(config).items()]
    if config.detector_model is not None:
        there = Path(config.detector_model).expanduser().is_file()
        needs.append(ModelNeed("detect_coco", config.detector_model, there))
    return tuple(needs)


def _model_need(config: JobConfig, role: str, name: str) -> ModelNeed:
    if config.model_file is not None and name == config.model:
        return ModelNeed(role, config.model_file, Path(config.model_file).expanduser().is_file())
    return ModelNeed(role, name, is_fetched(card_of(name)))


def wake(cells: Sequence[Cell | CellsLoop]) -> None:
    """Have those that wait look again; from any thread."""
    for cell in cells:
        cell.wake()


def figures_now(cells: Sequence[Cell], loops: Sequence[CellsLoop]) -> CellFigures | None:
    """Of the job's cell, or of its many; None before there is one."""
    if loops:
        return loops[0].figures()
    return figures_of(cells[0].coordinator, time.monotonic()) if cells else None


def run_where(
    job: Prepared,
    feed: Feed,
    committer: Committer,
    ledger: Ledger,
    cells: list[Cell],
    loops: list[CellsLoop],
    *,
    seen: Callable[[], int],
    stages: str,
    on_progress: OnProgress | None,
    stop: threading.Event,
    clocked: Clocked,
    ready_first: bool = False,
) -> JobSummary:
    """Run in one cell, or in one a node where the user's cluster has several.

    cells, loops: get the cell, or the loop over many, when it is there. ready_first: as `CellPlace` has it.
    """

    def already_done() -> int:
        return ledger.counts.already_done

    def one_cell() -> JobSummary:
        loop, spilled = run_on_ray(
            job,
            feed,
            committer,
            cells,
            already_done=already_done,
            seen=seen,
            stages=stages,
            on_progress=on_progress,
            stop=stop,
            clocked=clocked,
        )
        return summary_of(job, feed, committer, ledger, clocked, loop.drained, cells[0], spilled)

    if job.config.ray_address is not None:
        from mattemill.cluster.ray_start import ray_running, spilled_bytes

        with ray_running(
            job.config.ray_address, workers=job.layout.workers, gpus=job.layout.gpus, store_bytes=job.layout.store_bytes
        ):
            from mattemill.cluster.cells.run import cells_summary, many_nodes, run_cells

            if many_nodes(job):
                clocked.phase("ray")
                ran = run_cells(
                    job,
                    feed,
                    committer,
                    loops,
                    already_done=already_done,
                    seen=seen,
                    stages=stages,
                    on_progress=on_progress,
                    stop=stop,
                    clocked=clocked,
                    ready_first=ready_first,
                )
                plain = summary_of(job, feed, committer, ledger, clocked, ran.drained)
                spilled = spilled_bytes(job.config.ray_address, ran.used)
                return cells_summary(plain, ran, clocked.started, spilled)
            return one_cell()  # which finds Ray connected
    return one_cell()


def run_on_ray(
    job: Prepared,
    feed: Feed,
    committer: Committer,
    cells: list[Cell],
    *,
    already_done: Callable[[], int],
    seen: Callable[[], int],
    stages: str,
    on_progress: OnProgress | None,
    stop: threading.Event,
    clocked: Clocked,
) -> tuple[MainLoop, int]:
    """Do what the feed gives, on Ray, to its end or a stop: (the loop, bytes that Ray spilled).

    cells: the cell is added when it is there. already_done, seen: as `MainLoop` has them.
    """
    if on_progress is not None:
        seconds = time.monotonic() - clocked.started
        on_progress(Progress(0, 0, None, 0.0, seconds, None, note="starting Ray"))
    from mattemill.cluster.ray_start import ray_running, spilled_bytes

    config, layout = job.config, job.layout
    with ray_running(
        config.ray_address, workers=layout.workers, gpus=layout.gpus, store_bytes=layout.store_bytes
    ) as store:
        clocked.phase("ray")
        # Imported here: Ray costs a second, which a job without work saves, and reads its environment when imported.
        from mattemill.cluster.cell import Cell
        from mattemill.cluster.main_loop import MainLoop

        layout = lay_out(config, layout.device, layout.gpus, store, layout.gpu_bytes)
        cell = Cell(layout.plan, config, str(job.sink), module=stages, gpu_shares=layout.gpu_shares)
        cells.append(cell)
        loop = MainLoop(
            cell,
            feed,
            committer,
            config,
            layout,
            already_done=already_done,
            seen=seen,
            on_progress=on_progress,
            stop=stop,
            started=clocked.started,
        )
        try:
            loop.run()
        finally:
            cell.close()
        return loop, spilled_bytes(config.ray_address)


def summary_of(
    job: Prepared,
    feed: Feed,
    committer: Committer,
    ledger: Ledger,
    clocked: Clocked,
    drained: bool,
    cell: Cell | None = None,
    spilled: int = 0,
) -> JobSummary:
    """The run that has ended; what was not committed by then is not counted."""
    seconds = time.monotonic() - clocked.started
    images = committer.cut + sum(committer.failed.values())
    coordinator = cell.coordinator if cell is not None else None
    first = coordinator.first_matte_at if coordinator is not None else None
    remaining: int | None = feed.found - images if feed.ended else None
    return JobSummary(
        source=job.source.root,
        sink=job.sink.root,
        fingerprint=job.fingerprint,
        images=images,
        cut=committer.cut,
        failed=dict(sorted(committer.failed.items())),
        skipped=dict(job.source.skipped),
        already_done=ledger.counts.already_done,
        shards=committer.shards,
        drained=drained and remaining != 0,
        remaining=remaining,
        seconds=seconds,
        images_per_second=images / seconds if seconds > 0 else 0.0,
        first_matte_seconds=first - clocked.started if first is not None else None,
        setup_seconds=dict(clocked.setup),
        devices=dict(coordinator.devices) if coordinator is not None else {},
        placement=job.layout.plan.placement,
        workers={name: pool.target for name, pool in coordinator.pools.items()} if coordinator is not None else {},
        retries=coordinator.counters.retries if coordinator is not None else 0,
        worker_deaths=coordinator.counters.deaths if coordinator is not None else 0,
        spilled_bytes=spilled,
        peak_bytes=coordinator.gate.peak_held if coordinator is not None else 0,
    )


def _etag_lookup(config: JobConfig) -> Callable[[ImageRef], str | None]:
    """Asks the store for the ETag of an image whose source lists none; None when the store cannot tell."""

    def look(ref: ImageRef) -> str | None:
        location, key = split_uri(ref.uri)
        try:
            return open_store(location, config).head(key).etag
        except StoreError:
            return None

    return look
