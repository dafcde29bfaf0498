"""Threads of the driver, beside its main one, that call Ray: all of them end before Ray is shut down.

One that is inside Ray's core meanwhile ends the whole process: with SIGSEGV, or with exit status 1 and not a word,
after a job that went well.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds: longer than Ray's own calls take to give up

_running: dict[threading.Thread, threading.Event] = {}


def start_ray_thread(work: Callable[[threading.Event], None], name: str) -> threading.Thread:
    """Start `work(stop)` in a daemon thread; soon after `stop` is set it must return."""
    for ended in [thread for thread in _running if not thread.is_alive()]:
        del _running[ended]
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name, daemon=True)
    thread.start()
    _running[thread] = stop
    return thread


def end_ray_threads() -> None:
    """Stop them all and wait until they have ended; one that does not is named in the log."""
    for stop in _running.values():
        stop.set()
    for thread in list(_running):
        thread.join(_PATIENCE)
        if thread.is_alive():
            _log.warning("thread=%s is still in Ray after %g s", thread.name, _PATIENCE)
        del _running[thread]
