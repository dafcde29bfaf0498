"""Passes of one engine that come again are put into the stream as CUDA graphs, where that costs less.

TensorRT's developer guide, 'CUDA Graphs': a pass can be recorded when one of the same shapes has gone before; what is
recorded holds the addresses of tensors and working memory; the context that it came from must not be changed any more,
so every graph has a context of its own, and they share the arena. Not yet run on a GPU.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.driver import Event, Memory
from mattemill.kernels.cuda.graphs import CudaGraph
from mattemill.pipeline.engines.gpu_call import CallFailed, told
from mattemill.pipeline.engines.gpu_faults import gpu_fault
from mattemill.pipeline.engines.graph_trial import GraphTrial
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.place import GraphUse
from mattemill.pipeline.engines.recipe import Shape
from mattemill.pipeline.engines.tensorrt_context import TensorRtContext

_LOG = logging.getLogger(__name__)

KEPT = 16
"""Graphs of one engine: each takes memory of the device, and a context. Two slots with five buckets make ten."""

NOTED = 64
"""Passes that are remembered without a graph, to know them when they come again."""

IDLE = 1000
"""Passes of the engine during which a graph was not used, before another may take its place: with fewer, a few more
kinds of pass than there is room for would make graphs all the time and launch none."""


@dataclass(frozen=True, slots=True)
class Pass:
    """All that a recorded pass depends on. arena: address and bytes."""

    profile: int
    shapes: tuple[tuple[str, Shape], ...]
    addresses: tuple[tuple[str, int], ...]
    arena: tuple[int, int]

    @classmethod
    def of(cls, profile: int, shapes: Mapping[str, Shape], addresses: Mapping[str, int], arena: Memory) -> Pass:
        """From what the executor has."""
        return cls(profile, tuple(shapes.items()), tuple(addresses.items()), (arena.pointer, arena.nbytes))


@dataclass(slots=True)
class _Kept:
    """trial: None once the graph has won, or was not asked to. used: number of the pass that used it last."""

    graph: CudaGraph
    context: TensorRtContext
    used: int
    trial: GraphTrial | None
    began: Event
    ended: Event


class PassGraphs:
    """The first time a pass runs eagerly; the second time it does so in a context of its own and is recorded, and the
    graph must give what the pass gave; from then on it is launched as a graph, first in turns with eager passes, until
    it is known which costs less.

    use: 'auto'; 'on' takes every graph that can be made, without a trial; 'off'. new_context: opens a context that
    nothing else uses. said: what TensorRT has logged as errors, and forgets. A graph that cannot be made or launched,
    or gives something else, ends graphs for this engine, with one line in the log; the pass is run nevertheless.
    """

    def __init__(
        self,
        use: GraphUse,
        lane: Lane,
        new_context: Callable[[], TensorRtContext],
        said: Callable[[], list[str]],
        *,
        name: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._use = use
        self._lane = lane
        self._new_context = new_context
        self._said = said
        self._name = name
        self._clock = clock
        self._recorder = lane.graphs if use != "off" else None
        self._kept: OrderedDict[Pass, _Kept] = OrderedDict()
        self._noted: OrderedDict[Pass, bool] = OrderedDict()  # True: a graph of it did not pay
        self._arena: tuple[int, int] | None = None
        self._passes = 0

    @property
    def held(self) -> int:
        """How many there are now, those on trial too."""
        return len(self._kept)

    def run(self, one: Pass, arena: Memory, eager: Callable[[], None]) -> None:
        """Put a pass into the compute stream. eager: does so without a graph. Raises CallFailed.

        It is waited for when it is made a graph; while that is on trial, its pass before this one is.
        """
        if self._recorder is None:
            eager()
            return
        if one.arena != self._arena:  # whose growth has waited for whatever used it
            self.drop()
            self._arena = one.arena
        self._passes += 1
        kept = self._kept.get(one)
        if kept is not None:
            self._kept.move_to_end(one)
            kept.used = self._passes
            self._again(one, kept, eager)
        elif self._noted.get(one) is False and self._has_room():
            self._make(one, arena, eager)
        else:
            self._note(one)
            eager()

    def forget(self, addresses: Collection[int]) -> None:
        """Memory at these addresses goes: with it the graphs that use it, none of which may be running."""
        if not addresses:
            return
        for one in [one for one in self._kept if _uses(one, addresses)]:
            self._let_go(one)
        for one in [one for one in self._noted if _uses(one, addresses)]:
            del self._noted[one]

    def give_back(self) -> bool:
        """There is not enough memory: the graphs go, for good. False when there are none. Raises CallFailed."""
        if not self._kept:
            self._noted.clear()
            return False
        self._stop("out of memory; theirs is given back")
        return True

    def drop(self) -> None:
        """Let go of everything: a graph before its context. None may be running."""
        for one in list(self._kept):
            self._let_go(one)
        self._noted.clear()

    def _make(self, one: Pass, arena: Memory, eager: Callable[[], None]) -> None:
        assert self._recorder is not None
        del self._noted[one]
        done = False
        try:
            with told("the context of a graph could not be made"):
                context = self._new_context()
                context.set_shapes(dict(one.shapes), one.profile)
                context.bind(dict(one.addresses), arena)
                began, ended = self._lane.driver.event(), self._lane.driver.event()
            # The pass itself, and what TensorRT wants before it is recorded: it does now what the shapes have changed.
            context.enqueue()
            done = True
            with told("the pass could not be recorded"):
                graph = self._recorder.record(self._lane.compute.handle, context.enqueue)
                trial = GraphTrial(self._clock) if self._use == "auto" else None
                self._kept[one] = _Kept(graph, context, self._passes, trial, began, ended)
            done = False
            with told("the graph could not be compared with its pass"):
                done = self._agrees(graph, context, dict(one.addresses))
            if not done:
                raise CallFailed("the graph does not give what its pass gave")
        except CallFailed as failure:
            self._stop_after(failure)
            if not done:
                eager()

    def _agrees(self, graph: CudaGraph, context: TensorRtContext, addresses: Mapping[str, int]) -> bool:
        """Whether a graph gives again what the pass has just given.

        The same kernels on the same input: equal up to what sums in an order of their own differ by.
        """
        driver, stream = self._lane.driver, self._lane.compute

        def outputs() -> list[npt.NDArray[np.float32]]:
            found = []
            for name, shape in context.output_shapes.items():
                found.append(np.empty(shape, np.float32))
                driver.copy_out(found[-1], addresses[name], stream)
            stream.synchronise()
            return found

        wanted = outputs()
        for name, shape in context.output_shapes.items():
            driver.fill(addresses[name], 0xFF, 4 * math.prod(shape), stream)  # NaN, where the graph writes nothing
        graph.launch(stream.handle)
        return all(_alike(got, want) for got, want in zip(outputs(), wanted, strict=True))

    def _again(self, one: Pass, kept: _Kept, eager: Callable[[], None]) -> None:
        trial = kept.trial
        if trial is None:
            self._launch(kept, eager)
            return
        if trial.waits:
            with told("the pass before failed"):
                kept.ended.synchronise()
                trial.took(kept.ended.milliseconds_since(kept.began))
        if trial.over:
            kept.trial = None
            if self._pays(one, trial):
                self._launch(kept, eager)
            else:
                self._let_go(one)
                self._note(one, lost=True)
                eager()
            return
        with told("the pass could not be timed"):
            kept.began.record(self._lane.compute)
            with trial.putting() as way:
                if way == "eager":
                    eager()
                else:
                    self._launch(kept, eager)
            kept.ended.record(self._lane.compute)

    def _pays(self, one: Pass, trial: GraphTrial) -> bool:
        found = trial.verdict()
        _LOG.debug(
            "graph model=%s shapes=%s kept=%s eager_host_us=%.1f graph_host_us=%.1f eager_ms=%.3f graph_ms=%.3f",
            self._name,
            dict(one.shapes),
            found.pays,
            1e6 * found.eager.host,
            1e6 * found.graph.host,
            found.eager.device,
            found.graph.device,
        )
        return found.pays

    def _launch(self, kept: _Kept, eager: Callable[[], None]) -> None:
        try:
            with told("a graph could not be launched"):
                kept.graph.launch(self._lane.compute.handle)
        except CallFailed as failure:
            self._stop_after(failure)
            eager()

    def _note(self, one: Pass, *, lost: bool = False) -> None:
        self._noted[one] = self._noted.get(one, False) or lost
        self._noted.move_to_end(one)
        if len(self._noted) > NOTED:
            self._noted.popitem(last=False)

    def _has_room(self) -> bool:
        """For one more; the one that was not used for longest makes it, where that is long."""
        if len(self._kept) < KEPT:
            return True
        oldest = next(iter(self._kept))
        if self._passes - self._kept[oldest].used < IDLE:
            return False
        with told("what runs failed"):
            self._lane.compute.synchronise()  # a context must not go while its work runs
        self._let_go(oldest)
        return True

    def _stop_after(self, failure: CallFailed) -> None:
        # Also so that what TensorRT said of this is not taken for the reason of a later failure.
        texts = (*failure.texts, *self._said())
        if gpu_fault(texts) == "lost":
            raise CallFailed(failure.what, texts) from failure
        self._stop("; ".join((failure.what, *texts)))

    def _stop(self, why: str) -> None:
        self._recorder = None
        _LOG.warning("graphs model=%s off, its passes run without: why=%r", self._name, why)
        with told("what runs failed"):
            self._lane.compute.synchronise()
        self.drop()

    def _let_go(self, one: Pass) -> None:
        kept = self._kept.pop(one)
        try:
            kept.graph.close()
        except Exception as error:  # of a GPU that is lost: the rest must go nevertheless
            _LOG.debug("graph model=%s was not destroyed: %s", self._name, error)


def _uses(one: Pass, addresses: Collection[int]) -> bool:
    return any(address in addresses for _, address in one.addresses)


def _alike(got: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> bool:
    """Bit by bit in most cases, which costs no memory."""
    same = np.array_equal(got.view(np.uint32), wanted.view(np.uint32))
    return same or np.allclose(got, wanted, rtol=1e-2, atol=1e-3, equal_nan=True)
