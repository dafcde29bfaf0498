"""Starts a local Ray for the length of a job, or joins a cluster that is there."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mattemill.cluster.errors import RayStartError
from mattemill.cluster.ray_threads import end_ray_threads
from mattemill.cluster.spilled import AskingStoppedError, spilled_in_log, spilled_on_cluster

_log = logging.getLogger(__name__)

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Set to 1 for workers: a worker is sized as one core."""


def local_environment() -> dict[str, str]:
    """What a local Ray is started with; values that the user has set win.

    RAY_AUTH_MODE: Ray's default differs between versions, so it is said. A token of this process alone, because anyone
    who reaches the ports of an open Ray runs code as its user.
    """
    defaults = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_verbose_spill_logs": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **dict.fromkeys(ONE_THREAD, "1"),
    }
    wanted = {name: os.environ.get(name, value) for name, value in defaults.items()}
    if "ray" in sys.modules:
        wanted["RAY_AUTH_MODE"] = _mode_of_imported_ray()
    if wanted["RAY_AUTH_MODE"] == "token" and not (
        os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    ):
        wanted["RAY_AUTH_TOKEN"] = _own_token()
    return wanted


def _mode_of_imported_ray() -> str:
    """Ray's core reads the mode when it is imported, and its servers must be told the same."""
    import ray._raylet

    core: Any = ray._raylet
    return "token" if core.get_authentication_mode() == core.AuthenticationMode.TOKEN else "disabled"


_token: str | None = None


def _own_token() -> str:
    """One token a process: Ray's core reads it once and keeps it."""
    global _token
    if _token is None:
        _token = secrets.token_hex(32)
    return _token


@contextmanager
def ray_running(address: str | None, *, workers: int, gpus: int, store_bytes: int) -> Iterator[int]:
    """Ray is connected inside; shut down after (a cluster that was there stays, and so does a Ray of this process).

    address: of a running cluster; None starts one on this machine. workers: processes that the job will need, started
    ahead. gpus: of this machine that may be used. store_bytes: of the object store. Gives the bytes of the smallest
    object store that there really is.
    Raises RayStartError. Signal handlers are left as they were: Ray installs one for SIGTERM that would end the job
    without draining it.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        try:
            yield _smallest_store(store_bytes)
        finally:
            end_ray_threads()  # whoever has connected may shut it down next
        return
    # Left in the environment after the start: the C++ core and later workers read it too.
    if address is None:
        os.environ.update(local_environment())
    import ray

    handlers = _signal_handlers()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None:
        options |= {
            "address": "local",
            "num_cpus": max(1, workers),
            "num_gpus": gpus,
            "object_store_memory": store_bytes,
            "include_dashboard": False,
        }
    else:
        options |= {"address": address}
    try:
        try:
            ray.init(**options)
        except Exception as error:
            where = f"at {address}" if address else "on this machine"
            raise RayStartError(f"Ray could not be started {where}: {type(error).__name__}: {error}") from error
        finally:
            _restore(handlers)
        yield _smallest_store(store_bytes)
    finally:
        end_ray_threads()
        ray.shutdown()
        _restore(handlers)


def _smallest_store(wanted: int) -> int:
    import ray

    api: Any = ray
    sizes = [int(node.get("Resources", {}).get("object_store_memory", 0)) for node in api.nodes() if node["Alive"]]
    return min([wanted, *(size for size in sizes if size > 0)])


def spilled_bytes(address: str | None, needed: Collection[str] = (), stop: threading.Event | None = None) -> int:
    """Bytes that the object store has written to disk; 0 is right. -1 when it cannot be told.

    Of a local Ray: from its log, where it says so at the first spilled object and again whenever the sum has doubled
    (so a figure above 0 is right within a factor of two; 0 is exact). Of a cluster: from the files of all its nodes,
    since each was started and by whatever job; -1 when a node does not say, or one of those `needed` is gone, or `stop`
    was set meanwhile.
    """
    try:
        return _spilled_here() if address is None else spilled_on_cluster(needed, stop)
    except AskingStoppedError:
        return -1
    except Exception as error:  # private sides of Ray: their change must not fail a job that is done
        _log.warning("spilled bytes unknown why=%s", error)
        return -1


def _spilled_here() -> int:
    from ray._private import worker

    node: Any = worker._global_node
    if node is None:
        raise RuntimeError("no local Ray is running")
    logs = Path(node.get_session_dir_path(), "logs").glob("raylet*")
    return max((spilled_in_log(log.read_text(encoding="utf-8", errors="replace")) for log in logs), default=0)


def _signal_handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
