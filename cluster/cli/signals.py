"""What the first and the second SIGINT or SIGTERM of a job do: drain, then stop at once."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal:
    """A context manager around a job in the main thread; `event` is what the job watches.

    First signal: `event` is set and a line says what happens now. Second: KeyboardInterrupt in the main thread, so
    that the job gives back its lease and ends its Ray. Third: the system's default, the process is gone.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in _SIGNALS:
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self.event.is_set():
            self.event.set()
            sys.stderr.write(
                f"mattemill: {name}: no new images are taken, those in flight are being finished; again to stop now\n"
            )
            return
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        sys.stderr.write(f"mattemill: {name} again: stopping now; the same command resumes\n")
        raise KeyboardInterrupt
