"""Which GPUs a job on a Ray cluster has when its driver has none: the nodes that offer one to Ray are asked.

A head node usually has no GPU, yet what the networks run in (engine, precision) is part of a job's fingerprint, so it
is settled before anything is written: by the nodes that will do the work, each of which looks for itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.place import CPU, Place, place_of
from mattemill.pipeline.errors import DeviceError

if TYPE_CHECKING:
    from mattemill.cluster.cells.crew import Node
    from mattemill.pipeline.config import JobConfig

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 120.0  # a node that starts has to import TensorRT
_LOOK_SECONDS = 1.0
_SHARE = 0.01  # of a GPU: Ray hides them from a task without any


@dataclass(frozen=True, slots=True)
class GpusFound:
    """Where the networks run. gpus: how many; gpu_bytes: memory of the smallest.

    elsewhere: on nodes of the cluster, not on the driver's machine.
    """

    place: Place
    gpus: int = 0
    gpu_bytes: int = 0
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """What one node says. place: where it would run the networks, None when it cannot on a GPU; why: why not."""

    host: str
    place: Place | None
    gpu_bytes: int = 0
    why: str = ""


def survey(config: JobConfig) -> Survey:
    """Look at this machine. Runs on the node that is asked."""
    host = os.uname().nodename
    try:
        place = place_of(config)
    except DeviceError as error:
        return Survey(host, None, why=str(error))
    return Survey(host, place, min((gpu.memory_bytes for gpu in find_gpus().gpus), default=0))


def find_place(
    config: JobConfig,
    *,
    wait: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> GpusFound:
    """Where the networks of this job run: on this machine, else on GPU nodes of the cluster that it names.

    An open device takes the GPUs of nodes that are there now. One that was asked for is waited for up to `wait`
    seconds, with a demand before Ray for which an autoscaler adds a node. on_wait: told what is waited for.
    Raises DeviceError: says what each node lacks, or that there is none, or that `stop` was set meanwhile.
    """
    try:
        place = place_of(config)
    except DeviceError as error:
        if config.ray_address is None:
            raise
        return _on_nodes(config, str(error), wait, on_wait, stop)
    if place.device != "cpu":
        gpus = find_gpus().gpus
        return GpusFound(place, len(gpus), min((gpu.memory_bytes for gpu in gpus), default=0))
    if config.ray_address is None or config.device == "cpu":
        return GpusFound(CPU)
    try:
        return _on_nodes(config, "", 0.0, on_wait, stop)
    except DeviceError as error:
        _log.info("device=cpu asked=auto why=%r", str(error))
        return GpusFound(CPU)


def agreed(surveys: Sequence[Survey]) -> tuple[Place, int]:
    """(what all nodes that can would run the networks in, memory of their smallest GPU in bytes).

    Nodes that cannot are left out. Raises DeviceError when none can, or when two would do different things: a job's
    mattes are all made in the same way.
    """
    able = [one for one in surveys if one.place is not None]
    if not able:
        raise DeviceError("; ".join(f"node {one.host} offers a GPU to Ray, but {one.why}" for one in surveys))
    for one in surveys:
        if one.place is None:
            _log.warning("node without use host=%s why=%s", one.host, one.why)
    first = able[0]
    assert first.place is not None
    for other in able[1:]:
        if other.place != first.place:
            raise DeviceError(
                f"node {first.host} would run the networks on {first.place}, node {other.host} on {other.place}: "
                "say which with --set engine=... and --set precision=..., or install the same on both"
            )
    return first.place, min(one.gpu_bytes for one in able)


def _on_nodes(
    config: JobConfig,
    not_here: str,
    wait: float,
    on_wait: Callable[[str], None] | None,
    stop: threading.Event | None,
) -> GpusFound:
    from mattemill.cluster.ray_start import ray_running

    with ray_running(config.ray_address, workers=0, gpus=0, store_bytes=0):
        nodes = _gpu_nodes(str(config.ray_address), not_here, wait, on_wait, stop)
        asked = config if config.device == "cuda" else replace(config, device="cuda")
        place, smallest = agreed([_ask(node, asked) for node in nodes])
    _log.info("device=%s nodes=%d", place, len(nodes))
    return GpusFound(place, sum(node.gpus for node in nodes), smallest, elsewhere=True)


def _gpu_nodes(
    address: str,
    not_here: str,
    wait: float,
    on_wait: Callable[[str], None] | None,
    stop: threading.Event | None,
) -> list[Node]:
    from mattemill.cluster.cells.crew import Scouts, nodes_for_cells

    nodes = nodes_for_cells(True)
    deadline = time.monotonic() + wait
    scouts = Scouts()
    try:
        while not nodes and time.monotonic() < deadline:
            if stop is not None and stop.is_set():
                raise DeviceError("stopped while it waited for a node with a GPU; nothing was written")
            scouts.keep(1, cpus=1, gpus=1)
            if on_wait is not None:
                on_wait("waiting for a node with a GPU")
            time.sleep(_LOOK_SECONDS)
            nodes = nodes_for_cells(True)
    finally:
        scouts.keep(0)
    if not nodes:
        waited = f" after {wait:.0f} s (stall_timeout)" if wait else ""
        here = f"; on the driver's machine: {not_here}" if not_here else ""
        raise DeviceError(
            f"no node of the Ray cluster at {address} offers a CPU and a GPU to Ray{waited}: look at `ray status`, "
            f"start a node with a GPU, or look at the limits of the autoscaler's group{here}"
        )
    return nodes


def _ask(node: Node, config: JobConfig) -> Survey:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    api: Any = ray
    task = api.remote(survey).options(
        num_cpus=0,
        num_gpus=_SHARE,
        max_retries=1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
    )
    try:
        answer: Survey = api.get(task.remote(config), timeout=_ANSWER_SECONDS)
    except Exception as error:  # of Ray, or of what is installed there
        return Survey(node.id[:8], None, why=f"it does not answer ({type(error).__name__}: {error})")
    return answer
