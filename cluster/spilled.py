"""What Ray's object stores have written to disk, from the files that each raylet keeps on its own machine.

Ray's own answer (`ray memory`) wants grpcio, which comes with `ray[default]` only; these files are there always.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SPILLED = re.compile(r"Spilled (\d+) MiB, \d+ objects")
_REQUESTS = re.compile(r"cumulative spill requests: (\d+)")
_NODE = re.compile(r"^Node ID: (\w+)", re.MULTILINE)
_ENDING = re.compile(r"\.(out|err)(\.\d+)?$")  # a raylet says it in both, and logs are rotated

_ASK_SECONDS = 20.0  # a node may have to start a process first
_LOOK_SECONDS = 0.2


class AskingStoppedError(Exception):
    """Not all nodes had answered when asking was stopped."""


@dataclass(frozen=True, slots=True)
class NodeSpill:
    """What one node's files say. logs: bytes by raylet whose log tells of spilling.

    none: no log does, and it is sure that nothing was spilled (as of 10 seconds ago: so often a raylet writes its
    state). Neither: unknown.
    """

    node_id: str
    host: str
    logs: dict[str, int] = field(default_factory=dict)
    none: bool = False


def spilled_in_log(text: str) -> int:
    """Bytes that a raylet's log tells of. It says so whenever the sum has doubled: right within a factor of two."""
    return max((max(int(found[1]) * 2**20, 1) for found in _SPILLED.finditer(text)), default=0)


def read_node(node_id: str, host: str, logs: Path, *, tells_all: bool) -> NodeSpill:
    """What the files in `logs`, of the node's session, say.

    tells_all: the raylet was started with RAY_verbose_spill_logs=1, so that its log tells of the first spilled object;
    by default it begins at 2 GiB. Nodes that share a machine may share the folder: `total` counts a raylet once.
    """
    found: dict[str, int] = {}
    for log in logs.glob("raylet*"):
        size = spilled_in_log(log.read_text(encoding="utf-8", errors="replace"))
        if size:
            raylet = _ENDING.sub("", str(log))
            found[raylet] = max(size, found.get(raylet, 0))
    if found:
        return NodeSpill(node_id, host, found)
    try:
        state = (logs / "debug_state.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        state = ""
    whose, requests = _NODE.search(state), _REQUESTS.search(state)
    if whose and requests and whose[1] == node_id:
        return NodeSpill(node_id, host, none=int(requests[1]) == 0)
    return NodeSpill(node_id, host, none=tells_all)


def total(nodes: Collection[NodeSpill]) -> int:
    """Bytes on all nodes together. Raises RuntimeError naming the nodes whose bytes are unknown."""
    unknown = sorted(node.node_id[:8] for node in nodes if not node.logs and not node.none)
    if unknown:
        raise RuntimeError(f"nodes {', '.join(unknown)} do not say; start Ray there with RAY_verbose_spill_logs=1")
    return sum({(node.host, log): size for node in nodes for log, size in node.logs.items()}.values())


def spilled_on_cluster(needed: Collection[str] = (), stop: threading.Event | None = None) -> int:
    """Bytes on all live nodes of the cluster, since each was started and by whatever job.

    needed: ids of nodes that the job has used. Raises RuntimeError when one of them is gone, or a node does not say,
    and AskingStoppedError soon after `stop` was set.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    api: Any = ray
    alive = [node["NodeID"] for node in api.nodes() if node["Alive"]]
    gone = sorted(node_id[:8] for node_id in set(needed) - set(alive))
    if gone:
        raise RuntimeError(f"nodes {', '.join(gone)} are gone, and what they spilled with them")
    ask: Any = ray.remote(_read_here)
    options = {"num_cpus": 0, "max_retries": 0}
    calls = [
        ask.options(**options, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote()
        for node_id in alive
    ]
    pending, deadline = calls, time.monotonic() + _ASK_SECONDS
    while pending and time.monotonic() < deadline:
        if stop is not None and stop.is_set():
            raise AskingStoppedError
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=_LOOK_SECONDS)
    return total(ray.get(calls, timeout=0))


def _read_here() -> NodeSpill:
    import ray
    from ray._private import worker

    node: Any = worker._global_node
    api: Any = ray
    tells_all = os.environ.get("RAY_verbose_spill_logs") == "1"  # noqa: SIM112 - a worker has its raylet's environment
    logs = Path(node.get_session_dir_path(), "logs")
    return read_node(api.get_runtime_context().get_node_id(), api.util.get_node_ip_address(), logs, tells_all=tells_all)
