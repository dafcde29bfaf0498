"""A network in TensorRT or TensorRT-RTX on a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.batches import Batch, BatchCaps, cut
from mattemill.pipeline.engines.gpu_call import CallFailed, told
from mattemill.pipeline.engines.gpu_faults import gpu_fault
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.pass_graphs import Pass, PassGraphs
from mattemill.pipeline.engines.place import GraphUse
from mattemill.pipeline.engines.recipe import Profile, Shape, ShapeRange
from mattemill.pipeline.engines.slot import Slot
from mattemill.pipeline.engines.tensorrt_api import ICudaEngine, TensorRt, member
from mattemill.pipeline.engines.tensorrt_context import TensorRtContext, shape_of
from mattemill.pipeline.engines.tensorrt_log import Messages
from mattemill.pipeline.errors import DeviceLostError, EngineError

Arrays = dict[str, npt.NDArray[np.float32]]


class TensorRtEngine:
    """One deserialised plan; see `Engine`. Not yet run on a GPU: proven with a driver and a runtime that are fakes.

    Batches of any size are taken and run in buckets, two in flight: while one computes, the next is copied in and the
    one before is copied out and read. Memory on the device and pinned: two of the largest batch so far, the lane's
    arena, and what graphs take.

    module: TensorRT. plan: from the engine cache, built here: plans run code. lane: of the GPU. name: for messages.
    buckets: batch sizes to run with. graphs: whether passes that come again become CUDA graphs, see `PassGraphs`;
    nothing but 'off' with TensorRT-RTX, which exchanges a context's kernels for better ones while it runs.
    Raises EngineError when the plan cannot be used here, or graphs are 'on' and the lane has none.
    """

    def __init__(
        self,
        module: TensorRt,
        plan: bytes,
        lane: Lane,
        *,
        name: str,
        buckets: Sequence[int],
        graphs: GraphUse = "off",
    ) -> None:
        lane.check()
        if graphs == "on" and lane.graphs is None:
            raise EngineError(f"model {name}: cuda_graphs = 'on' cannot be had on {lane.device}: {lane.no_graphs}")
        self._module = module
        self.device = lane.device
        self._name = name
        self._lane = lane
        self._messages = Messages(module)
        self._runtime = module.Runtime(self._messages.logger)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"model {name}: the engine cannot be loaded on {lane.device} ({self._said()})")
        self._engine = engine
        self._inputs, self._outputs = _tensors(module, engine, name)
        self._profiles = _profiles(engine, self._inputs)
        self._context = self._new_context()
        self._graphs = PassGraphs(graphs, lane, self._new_context, self._messages.take_errors, name=name)
        self._buckets = tuple(buckets)
        self._caps = BatchCaps()
        self._slots: tuple[Slot, ...] = (Slot(lane), Slot(lane))
        lane.before_close(self._drop)
        self.batch_limit = max(ranges[0].largest[0] for ranges in self._profiles)

    @property
    def graphs_held(self) -> int:
        """CUDA graphs that there are of its passes now."""
        return self._graphs.held

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """One forward pass over a batch of any size, float32 in and out.

        Out of memory halves the batch for images of this shape, for good. Raises EngineError naming the model when it
        fails, when a shape is in no profile, or when an output is not finite; DeviceLostError when the GPU is gone.
        """
        self._lane.check()
        feeds = self._checked(inputs)
        count = next(iter(feeds.values())).shape[0]
        image = tuple(side for feed in feeds.values() for side in feed.shape[1:])
        buckets = self._buckets_for(feeds)
        outputs: Arrays = {}
        queue = deque(cut(0, count, buckets, self._caps.of(image, buckets[-1])))
        flying: deque[tuple[Slot, Batch]] = deque()
        turn = 0
        try:
            while queue or flying:
                if not queue or len(flying) == len(self._slots):
                    self._land(*flying.popleft(), outputs, count)
                    continue
                batch, slot = queue[0], self._slots[turn]
                try:
                    self._launch(slot, batch, feeds)
                except CallFailed as failure:
                    if gpu_fault(failure.texts) != "memory":
                        raise
                    # Memory that graphs take is none that a smaller batch should make up for.
                    if not self._graphs.give_back() and (
                        batch.bucket == buckets[0] or not self._caps.halve(image, batch.bucket)
                    ):
                        raise
                    while flying:
                        self._land(*flying.popleft(), outputs, count)
                    self._forget_memory()
                    queue = deque(cut(batch.start, count, buckets, self._caps.of(image, buckets[-1])))
                    continue
                queue.popleft()
                flying.append((slot, batch))
                turn = 1 - turn
        except CallFailed as failure:
            raise self._error(failure) from failure.__cause__
        for name, output in outputs.items():
            if not np.isfinite(output).all():
                raise EngineError(f"model {self._name}: output {name} is not finite on {self.device}")
        return outputs

    def enqueue(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        """Put one pass over memory of the device into the lane's compute stream; nothing is copied, nor waited for
        unless the arena has to grow, or a graph of this pass is made or on trial.

        shapes: of every input, with a batch that is in a profile. addresses: of every input and output on the device,
        float32, contiguous; for the sizes of outputs see `output_shapes`. Raises EngineError, DeviceLostError.
        """
        self._lane.check()
        try:
            try:
                self._set_shapes(shapes)
                self._execute(addresses)
            except CallFailed as failure:
                # What graphs take shall cost no pass its memory.
                if gpu_fault(failure.texts) != "memory" or not self._graphs.give_back():
                    raise
                self._set_shapes(shapes)
                self._execute(addresses)
        except CallFailed as failure:
            raise self._error(failure) from failure.__cause__

    def output_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of the outputs for shapes of the inputs. Raises EngineError."""
        self._lane.check()
        try:
            self._set_shapes(shapes)
        except CallFailed as failure:
            raise self._error(failure) from failure.__cause__
        return dict(self._context.output_shapes)

    def _checked(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        if inputs.keys() != set(self._inputs):
            raise EngineError(
                f"model {self._name}: got inputs {', '.join(sorted(inputs))}; it takes {', '.join(self._inputs)}"
            )
        feeds = {name: np.asarray(inputs[name], np.float32) for name in self._inputs}
        if len({feed.shape[:1] for feed in feeds.values()}) != 1 or not next(iter(feeds.values())).shape[:1]:
            raise EngineError(f"model {self._name}: inputs of {[feed.shape for feed in feeds.values()]} are no batch")
        return feeds

    def _buckets_for(self, feeds: Arrays) -> tuple[int, ...]:
        """Batch sizes that a profile holds for images of these shapes."""
        found = tuple(
            bucket
            for bucket in self._buckets
            if self._profile_for({name: (bucket, *feed.shape[1:]) for name, feed in feeds.items()}) is not None
        )
        if not found:
            images = {name: feed.shape[1:] for name, feed in feeds.items()}
            raise EngineError(f"model {self._name}: the engine has no profile for {images}; it has {self._profiles}")
        return found

    def _profile_for(self, shapes: Mapping[str, Shape]) -> int | None:
        for index, ranges in enumerate(self._profiles):
            if all(one.holds(tuple(shapes[one.name])) for one in ranges):
                return index
        return None

    def _launch(self, slot: Slot, batch: Batch, feeds: Arrays) -> None:
        lane = self._lane
        shapes = {name: (batch.bucket, *feed.shape[1:]) for name, feed in feeds.items()}
        self._set_shapes(shapes)
        with told("the batch could not be copied in"):
            outputs = self._context.output_shapes
            self._graphs.forget(slot.outgrown(shapes, outputs))
            slot.make_room(shapes, outputs)
            for name, feed in feeds.items():
                slot.put_in(name, feed[batch.start : batch.start + batch.count])
            slot.uploaded.record(lane.upload)
            lane.compute.wait(slot.uploaded)
        self._execute(slot.addresses)
        with told("the results could not be copied out"):
            slot.computed.record(lane.compute)
            lane.download.wait(slot.computed)
            for name in self._outputs:
                slot.take_out(name)
            slot.downloaded.record(lane.download)

    def _land(self, slot: Slot, batch: Batch, outputs: Arrays, count: int) -> None:
        with told("the forward pass failed"):
            slot.downloaded.synchronise()
        for name in self._outputs:
            result = slot.result(name)
            if name not in outputs:
                outputs[name] = np.empty((count, *result.shape[1:]), np.float32)
            outputs[name][batch.start : batch.start + batch.count] = result[: batch.count]

    def _set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        wanted = {name: tuple(shapes[name]) for name in self._inputs}
        if wanted == self._context.shapes:
            return
        profile = self._profile_for(wanted)
        if profile is None:
            raise CallFailed(f"no profile holds {wanted}")
        self._context.set_shapes(wanted, profile)

    def _execute(self, addresses: Mapping[str, int]) -> None:
        context = self._context
        with told("no working memory"):
            arena = self._lane.arena(context.needed)

        def eagerly() -> None:
            context.bind(addresses, arena)
            context.enqueue()

        self._graphs.run(Pass.of(context.profile, context.shapes, addresses, arena), arena, eagerly)

    def _forget_memory(self) -> None:
        """A batch did not fit: what was made for it is given back, and the context is asked anew what it needs."""
        with told("copies of a batch that did not fit failed"):
            for stream in self._lane.streams:
                stream.synchronise()
        for slot in self._slots:
            slot.clear()
        self._context.forget_shapes()

    def _drop(self) -> None:
        """In this order: a graph must go before its context, that before its engine, and that before its runtime."""
        self._graphs.drop()
        self._slots = ()
        del self._context, self._engine, self._runtime

    def _new_context(self) -> TensorRtContext:
        strategy = member(self._module, "ExecutionContextAllocationStrategy", "USER_MANAGED")
        native = self._engine.create_execution_context(strategy)
        if native is None:
            raise EngineError(f"model {self._name}: no execution context on {self._lane.device} ({self._said()})")
        return TensorRtContext(native, self._lane, self._outputs, self._failure)

    def _said(self) -> str:
        return "; ".join(self._messages.take_errors()) or "it does not say why"

    def _failure(self, what: str) -> CallFailed:
        return CallFailed(what, tuple(self._messages.take_errors()))

    def _error(self, failure: CallFailed) -> EngineError:
        # What is in flight uses the slots' memory: nothing may go before it is done, or it failed, too.
        for stream in self._lane.streams:
            try:
                stream.synchronise()
            except Exception as error:
                failure = CallFailed(failure.what, (*failure.texts, str(error)))
        self._context.forget_shapes()
        texts = (*failure.texts, *self._messages.take_errors())
        said = f"model {self._name}: {failure.what} on {self.device} ({'; '.join(texts) or 'it does not say why'})"
        if gpu_fault(texts) == "lost":
            self._lane.lose(said)
            return DeviceLostError(f"{said}; the process must be replaced")
        return EngineError(said)


def _tensors(module: TensorRt, engine: ICudaEngine, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    for tensor in names:
        if engine.get_tensor_dtype(tensor) != member(module, "DataType", "FLOAT"):
            raise EngineError(f"model {name}: {tensor} is {engine.get_tensor_dtype(tensor)} in the engine, not float32")
    into = member(module, "TensorIOMode", "INPUT")
    inputs = tuple(tensor for tensor in names if engine.get_tensor_mode(tensor) == into)
    return inputs, tuple(tensor for tensor in names if tensor not in inputs)


def _profiles(engine: ICudaEngine, inputs: Sequence[str]) -> tuple[Profile, ...]:
    found = []
    for index in range(engine.num_optimization_profiles):
        ranges = []
        for name in inputs:
            fixed = shape_of(engine.get_tensor_shape(name))
            if -1 in fixed:
                low, mid, high = (shape_of(dims) for dims in engine.get_tensor_profile_shape(name, index))
            else:
                low = mid = high = fixed
            ranges.append(ShapeRange(name, low, mid, high))
        found.append(tuple(ranges))
    return tuple(found)
