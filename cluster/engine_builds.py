"""The engines of a job are built before its workers start, with progress, and given up when the job is stopped.

Workers on other nodes build their own when they start, and tell it in their log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import Place
from mattemill.pipeline.models.load import ensure_engines

if TYPE_CHECKING:
    from mattemill.pipeline.engines.builder import BuildProgress

_STEPS = {
    "waiting": "waits for another process that builds it",
    "preparing": "is rewritten",
    "compiling": "is compiled",
    "comparing": "is compared with ONNX Runtime",
}


class _StoppedError(Exception):
    """The job is to stop; never leaves this file."""


def build_engines(
    config: JobConfig,
    place: Place,
    on_progress: Callable[[Progress], None] | None,
    stop: threading.Event,
    started: float,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Build what this machine lacks of the engines that the job needs; at once where it needs none.

    started: of the job, on the clock. False when `stop` was set meanwhile: what was being built is given up. Raises
    ModelError, EngineError, DeviceError.
    """
    told = ""

    def tell(progress: BuildProgress) -> None:
        nonlocal told
        if stop.is_set():
            raise _StoppedError
        tenths = int(progress.share * 10)
        share = f", {tenths}0 %" if tenths else ""  # every change of the note is a line where there is no terminal
        note = f"engine for {place}: {progress.model} {_STEPS.get(progress.step, progress.step)}{share}"
        if on_progress is not None and note != told:
            told = note
            on_progress(Progress(0, 0, None, 0.0, clock() - started, None, note=note))

    try:
        ensure_engines(config, place, tell)
    except _StoppedError:
        return False
    return True
