"""One function over many items on a few threads, results in order, at little cost an item."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")


class ThreadMap:
    """Threads that live as long as this; made at the first call, and again in a forked process."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def __call__(self, function: Callable[[A], B], items: Sequence[A]) -> list[B]:
        """function(item) for each item, in order. The first exception is raised when all threads have ended."""
        threads = min(self._threads, len(items))
        if threads <= 1:
            return [function(item) for item in items]
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            self._process = os.getpid()
        results: list[B | None] = [None] * len(items)
        turns = itertools.count()  # next() is atomic; one task a thread costs less than one an item

        def work() -> None:
            while (turn := next(turns)) < len(items):
                results[turn] = function(items[turn])

        tasks = [self._pool.submit(work) for _ in range(threads)]
        errors = [error for task in tasks if (error := task.exception()) is not None]
        if errors:
            raise errors[0]
        return cast("list[B]", results)
