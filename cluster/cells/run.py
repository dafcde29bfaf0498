"""A job over many nodes: puts cells, leases and the loop together, on a Ray that is connected."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray

from mattemill.cluster.cells.cell_actor import CellPlace
from mattemill.cluster.cells.cells_loop import CellsLoop
from mattemill.cluster.cells.crew import Crew, Node, nodes_for_cells, with_node
from mattemill.cluster.committer import Committer
from mattemill.cluster.feed import Feed
from mattemill.cluster.job import Clocked, OnProgress, Prepared
from mattemill.cluster.progress import JobSummary
from mattemill.cluster.workers import module_folder, store_environment


def many_nodes(job: Prepared) -> bool:
    """Whether the job runs in a cell a node: unless the driver's own node is the only one that can hold one.

    With none at all, too: nodes of an autoscaled cluster come later, and a head without CPUs shall not do the work.
    """
    nodes = nodes_for_cells(job.layout.gpus > 0)
    api: Any = ray
    return [node.id for node in nodes] != [api.get_runtime_context().get_node_id()] or job.config.nodes > 1


def run_cells(
    job: Prepared,
    feed: Feed,
    committer: Committer,
    loops: list[CellsLoop],
    *,
    already_done: Callable[[], int],
    seen: Callable[[], int],
    stages: str,
    on_progress: OnProgress | None,
    stop: threading.Event,
    clocked: Clocked,
    ready_first: bool = False,
) -> CellsLoop:
    """Do what the feed gives, a cell a node, to its end or a stop.

    loops: the loop is added when it is there. ready_first: as `CellPlace` has it.
    """

    def place(node: Node) -> CellPlace:
        return CellPlace(
            node_id=node.id,
            config=with_node(job.config, node),
            sink=str(job.sink),
            module=stages,
            folder=module_folder(stages),
            device=job.layout.device,
            gpus=node.gpus if job.layout.gpus else 0,
            gpu_bytes=job.layout.gpu_bytes,
            store_bytes=node.store_bytes,
            fingerprint=job.fingerprint,
            environment=store_environment(),
            ready_first=ready_first,
        )

    crew = Crew(place)
    loop = CellsLoop(
        crew,
        feed,
        committer,
        job.config,
        on_gpu=job.layout.gpus > 0,
        already_done=already_done,
        seen=seen,
        on_progress=on_progress,
        stop=stop,
        started=clocked.started,
        ready_first=ready_first,
    )
    loops.append(loop)
    try:
        loop.run()
    finally:
        crew.close()
    return loop


def cells_summary(summary: JobSummary, loop: CellsLoop, started: float, spilled: int) -> JobSummary:
    """The summary with what the cells say of themselves; workers are those of all cells that were there at the end."""
    states = loop.states
    workers: dict[str, int] = {}
    for seat in loop.desk.seats.values():
        for stage, number in seat.state.workers.items():
            workers[stage] = workers.get(stage, 0) + number
    return replace(
        summary,
        first_matte_seconds=None if loop.first_matte_at is None else loop.first_matte_at - started,
        devices={stage: device for state in states for stage, device in state.devices.items()},
        workers=workers,
        retries=sum(state.retries for state in states),
        worker_deaths=sum(state.deaths for state in states),
        spilled_bytes=spilled,
        peak_bytes=max((state.peak_bytes for state in states), default=0),
    )
