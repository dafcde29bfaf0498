"""Gives the engine of a network: from the cache, or built once a machine, while other processes wait."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mattemill.pipeline.engines.build_process import PLAN, Task
from mattemill.pipeline.engines.catalogue import recipe_of
from mattemill.pipeline.engines.engine_cache import EngineCache, Entry
from mattemill.pipeline.engines.gpus import DriverFound, find_gpus
from mattemill.pipeline.engines.recipe import PORTABLE, Backend, EngineRecipe, Precision, Target
from mattemill.pipeline.engines.sidecar import Parity, Sidecar
from mattemill.pipeline.engines.tensorrt_api import import_tensorrt
from mattemill.pipeline.errors import DeviceError, EngineError
from mattemill.pipeline.models.card import ModelCard


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """step: 'waiting' (another process builds it), 'preparing', 'compiling', 'comparing'. share: 0..1 of the step."""

    model: str
    step: str
    share: float
    phase: str


OnProgress = Callable[[BuildProgress], None]


def target_here(backend: Backend, found: DriverFound | None = None, gpu: int = 0) -> Target:
    """What this machine builds for. TensorRT-RTX's plans are for every GPU that it knows.

    Raises EngineError when the backend is not installed, DeviceError when TensorRT has no GPU.
    """
    version = import_tensorrt(backend).__version__
    if backend == "tensorrt_rtx":
        return Target(version, PORTABLE, PORTABLE)
    there = found if found is not None else find_gpus()
    if gpu >= len(there.gpus):
        raise DeviceError(
            f"backend tensorrt builds on the GPU that it builds for: {there.problem or f'there is no cuda:{gpu}'}. "
            "tensorrt_rtx builds without one"
        )
    chosen = there.gpus[gpu]
    return Target(version, chosen.compute_capability, chosen.name)


def ensure_engine(
    card: ModelCard,
    path: Path,
    backend: Backend,
    precision: Precision,
    *,
    photos: Path,
    cache: EngineCache | None = None,
    gpu: int = 0,
    on_progress: OnProgress | None = None,
) -> Entry:
    """The engine of the network in the file at `path`, compared with ONNX Runtime where there is a GPU to do it.

    With `tensorrt` it is in the cache only if it agrees. `tensorrt_rtx` builds without a GPU, and for all: `plan_of`
    refuses its engine on a GPU until this function has found it to agree there.
    photos: folder of photographs to compare on. Raises UsageError, ModelError, EngineError, DeviceError.
    """
    cache = cache if cache is not None else EngineCache()
    found = find_gpus()
    target = target_here(backend, found, gpu)
    recipe = recipe_of(card, path, backend, precision)
    can_compare = gpu < len(found.gpus)

    def tell(step: str, share: float = 0.0, phase: str = "") -> None:
        if on_progress is not None:
            on_progress(BuildProgress(card.name, step, share, phase))

    def good() -> Entry | None:
        entry = cache.find(recipe, target)
        if entry is None or (can_compare and not compared_on(entry, found.gpus[gpu].name)):
            return None
        return entry

    entry = good()
    if entry is not None:
        return entry
    with cache.lock(recipe, target, waiting=lambda: tell("waiting")) as scratch:
        entry = good()
        if entry is not None:
            return entry
        old = cache.find(recipe, target)
        if old is not None and cache.problem_of(old) is not None:
            old = None
        if old is not None:
            shutil.copyfile(old.plan, scratch / PLAN)
        task = Task(
            recipe=recipe,
            network=str(path),
            scratch=str(scratch),
            compile=old is None,
            compare=can_compare,
            photos=str(photos),
            timing_cache=str(_timing_cache(cache, target)) if backend == "tensorrt" else None,
            gpu=gpu,
            gpu_name=found.gpus[gpu].name if can_compare else "",
        )
        began = time.monotonic()
        parity = _run(task, tell)
        if old is not None:
            assert parity is not None, "an engine is taken again only to be compared"
            return cache.record_parity(old, parity)
        built = scratch / PLAN
        return cache.publish(_sidecar(recipe, target, built, time.monotonic() - began, parity), built)


def compared_on(entry: Entry, gpu: str) -> bool:
    """Whether the engine was seen to agree with ONNX Runtime on a GPU of this name."""
    parity = entry.sidecar.parity if entry.sidecar is not None else None
    return parity is not None and parity.gpu == gpu


def plan_of(cache: EngineCache, entry: Entry, gpu: str) -> bytes:
    """The engine, to be loaded on a GPU of this name.

    Raises EngineError when it is damaged, or nobody has seen that its output is right on such a GPU.
    """
    if entry.sidecar is not None and not compared_on(entry, gpu):
        raise EngineError(
            f"engine {entry.plan}: its output was not yet compared with ONNX Runtime's on {gpu}; run here "
            f"`mattemill engines build {entry.sidecar.recipe.model} --backend {entry.sidecar.recipe.backend}`"
        )
    return cache.read(entry)


def _timing_cache(cache: EngineCache, target: Target) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in f"{target.version}-{target.compute_capability}-{target.gpu}")
    return cache.folder / f"timing-{name}.cache"


def _sidecar(recipe: EngineRecipe, target: Target, built: Path, seconds: float, parity: Parity | None) -> Sidecar:
    with built.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Sidecar(recipe, target, digest, built.stat().st_size, time.time(), round(seconds, 3), parity)


def _run(task: Task, tell: Callable[[str, float, str], None]) -> Parity | None:
    """The task in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mattemill.pipeline.engines.build_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    stderr = process.stderr
    listener = threading.Thread(target=lambda: said.extend(stderr), daemon=True)
    listener.start()
    last: dict[str, Any] = {}
    try:
        with suppress(BrokenPipeError):  # it died at once: its end says why
            process.stdin.write(task.dumps())
            process.stdin.close()
        for line in process.stdout:
            last = json.loads(line)
            if "step" in last:
                tell(last["step"], last["share"], last["phase"])
        code = process.wait()
    finally:
        if process.poll() is None:  # we are interrupted: a build runs for minutes
            process.kill()
            process.wait()
        listener.join()
    if "done" in last:
        return Parity(**last["parity"]) if last["parity"] is not None else None
    if "error" in last:
        raise EngineError(str(last["error"]))
    raise EngineError(
        f"model {task.recipe.model}: the process that builds its engine with {task.recipe.backend} "
        f"{_ending(code)} ({' '.join(said[-3:]).strip() or 'it does not say why'})"
    )


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with {code}"
