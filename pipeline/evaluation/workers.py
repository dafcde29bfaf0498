"""Many photographs by one recipe on several processes, each with one thread; nothing outlives the caller."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.evaluation.contest import Contestant
from mattemill.pipeline.evaluation.datasets import Example
from mattemill.pipeline.evaluation.instances import InstanceRow, InstanceRunner
from mattemill.pipeline.evaluation.runner import Row, Runner

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Task:
    """One photograph. instances: find all of its things, instead of scoring one matte. panels: draw them, too."""

    example: Example
    instances: bool = False
    panels: bool = False


def run_tasks(contestant: Contestant, tasks: Sequence[Task], jobs: int) -> Iterator[Row | InstanceRow]:
    """The results in the order in which they come. jobs: processes, at least 1.

    The processes are new ones for each recipe, so that none inherits the memory of another's networks. They end when
    this is closed, interrupted, or when this process dies. Raises what a worker raises; EngineError when one dies.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    before = set(multiprocessing.active_children())
    waiting = iter(tasks)
    running: set[Future[Row | InstanceRow]] = set()
    with _one_thread_each():
        pool = ProcessPoolExecutor(max(1, min(jobs, len(tasks))), context, _start, (contestant,))
        try:
            # Two a process: one is done, one waits; what was not begun yet needs no undoing.
            while True:
                while len(running) < 2 * jobs and (task := next(waiting, None)) is not None:
                    running.add(pool.submit(_work, task))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise EngineError(
                "a process of the evaluation died (out of memory, or a crash in native code): try fewer --jobs"
            ) from error
        finally:
            if running:  # interrupted, or the caller has seen enough
                _end(set(multiprocessing.active_children()) - before)
            # Its thread waits for the same children; until it has ended, one that is gone may still count as alive.
            pool.shutdown(wait=True, cancel_futures=True)


def _end(children: set[Any]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        child.join(5)
        if child.is_alive():
            child.kill()
            child.join()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Children read these when they load their libraries; this process keeps its own."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_contestant: Contestant | None = None
_runner: Runner | None = None
_instance_runner: InstanceRunner | None = None


def _start(contestant: Contestant) -> None:
    """In the worker: Ctrl-C is the caller's to handle; the networks are loaded at the first task that wants them."""
    global _contestant
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    _contestant = contestant


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _work(task: Task) -> Row | InstanceRow:
    global _runner, _instance_runner
    assert _contestant is not None
    if task.instances:
        if _instance_runner is None:
            _instance_runner = InstanceRunner(_contestant)
        return _instance_runner(task.example)
    if _runner is None:
        _runner = Runner(_contestant)
    return _runner(task.example, panels=task.panels)
