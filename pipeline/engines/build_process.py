"""The process in which one engine is built and compared: what goes wrong in TensorRT ends it and nothing else.

Reads a `Task` as JSON from stdin, writes JSON lines to stdout: progress, then a result or an error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mattemill.pipeline.engines.catalogue import BUCKETS
from mattemill.pipeline.engines.recipe import EngineRecipe, recipe_from_json, recipe_json
from mattemill.pipeline.engines.sidecar import Parity
from mattemill.pipeline.errors import MattemillError

Tell = Callable[[dict[str, Any]], None]

PLAN = "plan"
"""The engine's name in the scratch folder."""


@dataclass(frozen=True, slots=True)
class Task:
    """network: the ONNX file. scratch: where `PLAN` is written, or lies already when `compile` is not asked for.

    timing_cache: file to read and to replace; None for no cache. compare: run the engine on `gpu` (its index and name)
    and compare its outputs on the photographs below `photos`.
    """

    recipe: EngineRecipe
    network: str
    scratch: str
    compile: bool
    compare: bool
    photos: str
    timing_cache: str | None
    gpu: int
    gpu_name: str

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self) | {"recipe": recipe_json(self.recipe)})

    @staticmethod
    def loads(text: str) -> Task:
        """The inverse of `dumps`."""
        plain = json.loads(text)
        return Task(**(plain | {"recipe": recipe_from_json(plain["recipe"])}))


def work(task: Task, tell: Tell) -> Parity | None:
    """Do the task. Raises MattemillError."""
    if task.compile:
        _compile(task, tell)
    return _compare(task, tell) if task.compare else None


def _compile(task: Task, tell: Tell) -> None:
    from mattemill.pipeline.engines.compile_engine import compile_engine
    from mattemill.pipeline.engines.prepare import prepare
    from mattemill.pipeline.engines.tensorrt_api import import_tensorrt

    tell({"step": "preparing", "share": 0.0, "phase": ""})
    module = import_tensorrt(task.recipe.backend)
    onnx = prepare(Path(task.network), task.recipe)
    cache = Path(task.timing_cache) if task.timing_cache is not None else None
    known = cache.read_bytes() if cache is not None and cache.is_file() else b""
    told = 0.0

    def step(share: float, phase: str) -> None:
        nonlocal told
        if time.monotonic() - told > 0.1:  # phases come by the hundred
            told = time.monotonic()
            tell({"step": "compiling", "share": share, "phase": phase})

    made = compile_engine(module, onnx, task.recipe, timing_cache=known, on_step=step)
    (Path(task.scratch) / PLAN).write_bytes(made.plan)
    if cache is not None and made.timing_cache is not None:
        partial = cache.with_name(f"{cache.name}.{os.getpid()}.part")
        partial.write_bytes(made.timing_cache)
        partial.replace(cache)


def _compare(task: Task, tell: Tell) -> Parity:
    from mattemill.pipeline.engines.open_gpu import open_lane
    from mattemill.pipeline.engines.parity import cases_of, check_parity, read_photographs
    from mattemill.pipeline.engines.tensorrt_api import import_tensorrt
    from mattemill.pipeline.engines.tensorrt_engine import TensorRtEngine
    from mattemill.pipeline.models.cards import card_of

    tell({"step": "comparing", "share": 0.0, "phase": ""})
    cases = cases_of(card_of(task.recipe.model), Path(task.network), read_photographs(Path(task.photos)))
    plan = (Path(task.scratch) / PLAN).read_bytes()
    module = import_tensorrt(task.recipe.backend)
    lane = open_lane(task.gpu)
    try:
        engine = TensorRtEngine(module, plan, lane, name=task.recipe.model, buckets=BUCKETS)
        return check_parity(engine, cases, gpu=task.gpu_name, name=task.recipe.model)
    finally:
        lane.close()


def main() -> int:
    """The process."""
    # Libraries that print must not get between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(line: dict[str, Any]) -> None:
        lines.write(json.dumps(line) + "\n")
        lines.flush()

    try:
        parity = work(Task.loads(sys.stdin.read()), tell)
    except MattemillError as error:
        tell({"error": str(error)})
        return 1
    tell({"done": True, "parity": asdict(parity) if parity is not None else None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
