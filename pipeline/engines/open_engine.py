"""Opens a network where a job runs it: the one place that knows all engines."""

from __future__ import annotations

import atexit
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.place import CPU, GraphUse, Place, rtx_capabilities, rtx_doubt
from mattemill.pipeline.errors import DeviceError, EngineError
from mattemill.pipeline.models.card import ModelCard

if TYPE_CHECKING:
    from mattemill.pipeline.engines.builder import BuildProgress, OnProgress
    from mattemill.pipeline.engines.engine_cache import EngineCache, Entry
    from mattemill.pipeline.engines.lane import Lane

_LOG = logging.getLogger(__name__)

PHOTOGRAPHS = Path(__file__).parent / "photographs"
"""What an engine is compared on before it is used; part of the package, so that every installation has them."""


class _Here(threading.local):
    """The lanes of this thread by GPU: all networks of a worker run in one, and share its arena."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}


_HERE = _Here()


def open_engine(
    card: ModelCard, path: Path, place: Place = CPU, threads: int = 1, *, cache: EngineCache | None = None
) -> Engine:
    """The network of a card, in the file at `path`, ready to run at a place.

    On a GPU in TensorRT its engine is built and compared first where the cache lacks it, once a node; that takes
    minutes and is told in the log. threads: of one forward pass of ONNX Runtime on the CPU. Raises ModelError,
    EngineError, DeviceError; nothing falls back to another engine or device.
    """
    if place.engine == "onnxruntime":
        model, buckets = _batched(card, path) if place.device != "cpu" else (None, ())
        return OnnxRuntimeEngine(
            path, place.device, threads, outputs=card.output.names, name=card.name, model=model, buckets=buckets
        )
    # Imported here: a CPU needs none of it.
    from mattemill.pipeline.engines.builder import plan_of
    from mattemill.pipeline.engines.catalogue import BUCKETS
    from mattemill.pipeline.engines.engine_cache import EngineCache
    from mattemill.pipeline.engines.gpus import find_gpus
    from mattemill.pipeline.engines.tensorrt_api import import_tensorrt
    from mattemill.pipeline.engines.tensorrt_engine import TensorRtEngine

    cache = cache if cache is not None else EngineCache()
    found = find_gpus()
    if place.gpu >= len(found.gpus):
        raise DeviceError(f"{place}: {found.problem or f'there is no GPU {place.gpu}'}")
    gpu = found.gpus[place.gpu]
    try:
        entry = ensure_at(card, path, place, on_progress=_Logged(), cache=cache)
        plan = plan_of(cache, entry, gpu.name)
        graphs: GraphUse = place.graphs if place.engine == "tensorrt" else "off"
        return TensorRtEngine(
            import_tensorrt(place.engine), plan, _lane(place.gpu), name=card.name, buckets=BUCKETS, graphs=graphs
        )
    except EngineError as error:
        doubt = rtx_doubt(gpu, rtx_capabilities()) if place.engine == "tensorrt_rtx" else ""
        if not doubt:
            raise
        raise EngineError(f"{error}. {doubt.partition('. ')[0]}: ask for another engine") from error


def ensure_at(
    card: ModelCard,
    path: Path,
    place: Place,
    *,
    on_progress: OnProgress | None = None,
    cache: EngineCache | None = None,
) -> Entry:
    """The engine of a network for a place that has TensorRT, from the cache, or built and compared. Raises as
    `ensure_engine`."""
    from mattemill.pipeline.engines.builder import ensure_engine

    if place.engine == "onnxruntime":
        raise ValueError(f"{place}: ONNX Runtime needs no engine")
    return ensure_engine(
        card,
        path,
        place.engine,
        place.precision,
        photos=PHOTOGRAPHS,
        cache=cache,
        gpu=place.gpu,
        on_progress=on_progress,
    )


def _batched(card: ModelCard, path: Path) -> tuple[bytes | None, tuple[int, ...]]:
    """The network with its batch left free, and the batch sizes to run it with; (None, ()) where it has none.

    Many files have a batch of one written into them. Not yet run on a GPU.
    """
    if card.task != "saliency":
        return None, ()
    from mattemill.pipeline.engines.catalogue import BUCKETS, recipe_of
    from mattemill.pipeline.engines.prepare import prepare

    try:
        recipe = recipe_of(card, path, "tensorrt", "fp32")  # of its profiles; nothing is built
        batches = [(ranges[0].smallest[0], ranges[0].largest[0]) for ranges in recipe.profiles]
        return prepare(path, recipe), tuple(n for n in BUCKETS if any(low <= n <= high for low, high in batches))
    except EngineError as error:
        _LOG.warning("engine model=%s batch=1 why=%r", card.name, str(error))
        return None, ()


def lane_here(gpu: int) -> Lane:
    """The lane in which `open_engine` opens networks for a GPU in this thread. Raises DeviceError."""
    return _lane(gpu)


def _lane(gpu: int) -> Lane:
    if gpu not in _HERE.lanes:
        from mattemill.pipeline.engines.open_gpu import open_lane

        lane = _HERE.lanes[gpu] = open_lane(gpu)
        if threading.current_thread() is threading.main_thread():
            atexit.register(lane.close)  # else the driver is gone before what we hold of it
    return _HERE.lanes[gpu]


class _Logged:
    """Progress of a build in the log: that it began (a warning, for whoever waits), every step and tenth."""

    def __init__(self) -> None:
        self._told: tuple[str, int] | None = None

    def __call__(self, progress: BuildProgress) -> None:
        if self._told is None:
            _LOG.warning("engine model=%s is not in the cache: it is built, once, for minutes", progress.model)
        tenth = (progress.step, int(progress.share * 10))
        if tenth != self._told:
            self._told = tenth
            _LOG.info("engine model=%s step=%s share=%.2f", progress.model, progress.step, progress.share)
