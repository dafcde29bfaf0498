"""What the network alone allows on these cores: the figure that everything else is divided by.

One process a core, each with the engine that the job uses (ONNX Runtime, one thread), all of them doing nothing but
forward passes at once on a prepared input. The processes stay between measurements, so that a limit can be taken right
before and right after a run, on a machine that is not equally fast all day.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np
from bench import busy_seconds, cores
from photographs import photographs
from PIL import Image

from mattemill.pipeline.models.fetch import fetch_model


@dataclass(frozen=True, slots=True)
class Speed:
    """passes: a second. core_seconds: that one pass takes, also right while others use the cores.

    by_others: share of the cores, 0..1, that other processes took meanwhile; more than a little makes `passes` wrong.
    """

    passes: float
    core_seconds: float
    by_others: float = 0.0

    def mean(self, other: Speed) -> Speed:
        """Half-way between two measurements."""
        return Speed(
            (self.passes + other.passes) / 2,
            (self.core_seconds + other.core_seconds) / 2,
            max(self.by_others, other.by_others),
        )


def _serve(pipe: Connection, model: str, path: Path) -> None:
    from mattemill.kernels.network_input import network_input
    from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
    from mattemill.pipeline.models.cards import card_of

    card = card_of(model)
    engine = OnnxRuntimeEngine(path, threads=1, outputs=card.output.names[:1])
    with Image.open(io.BytesIO(photographs(1)[0][1])) as photograph:
        pixels = np.asarray(photograph.convert("RGB"))
    prepared = network_input(
        pixels, card.input.size, divisor=card.input.divisor, mean=card.input.mean, std=card.input.std
    )
    feed = {card.input.name: prepared}
    engine.run(feed)
    pipe.send("ready")
    while (seconds := pipe.recv()) is not None:
        passes = 0
        began, core_began = time.perf_counter(), time.process_time()
        while (now := time.perf_counter()) - began < seconds:
            engine.run(feed)
            passes += 1
        core = time.process_time() - core_began
        pipe.send((Speed(passes / (now - began), core / passes), core))


class NetworkLimit:
    """Persistent processes that measure passes a second of one network with every core at work."""

    def __init__(self, model: str = "u2netp", processes: int = 0) -> None:
        path = fetch_model(model)
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(processes or cores()):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, model, path), daemon=True)
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)

    def __enter__(self) -> NetworkLimit:
        for pipe in self._pipes:
            pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)

    def measure(self, seconds: float = 8.0) -> Speed:
        """All processes together, all of them running for `seconds`."""
        began, busy = time.monotonic(), busy_seconds()
        for pipe in self._pipes:
            pipe.send(seconds)
        answers: list[tuple[Speed, float]] = [pipe.recv() for pipe in self._pipes]
        passed, busy = time.monotonic() - began, busy_seconds() - busy
        speeds = [speed for speed, _ in answers]
        ours = sum(core for _, core in answers)
        return Speed(
            sum(s.passes for s in speeds),
            sum(s.core_seconds for s in speeds) / len(speeds),
            round(max(0.0, busy - ours) / passed / (os.cpu_count() or 1), 3),
        )
