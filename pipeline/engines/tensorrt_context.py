"""One of TensorRT's execution contexts, and what it was last told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mattemill.kernels.cuda.driver import Memory
from mattemill.pipeline.engines.gpu_call import CallFailed, told
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.recipe import Shape
from mattemill.pipeline.engines.tensorrt_api import Dims, IExecutionContext


class TensorRtContext:
    """Everything it does goes into the lane's compute stream, so that contexts never overlap and share an arena.

    native: without memory of its own (USER_MANAGED). outputs: names. failed: makes the error of a call that was
    refused, with what TensorRT said. All methods raise CallFailed.
    """

    def __init__(
        self, native: IExecutionContext, lane: Lane, outputs: Sequence[str], failed: Callable[[str], CallFailed]
    ) -> None:
        self._native = native
        self._lane = lane
        self._outputs = tuple(outputs)
        self._failed = failed
        self.profile = -1
        self.shapes: dict[str, Shape] = {}
        self.output_shapes: dict[str, Shape] = {}
        self.needed = 0
        """Bytes of the arena for these shapes."""

    def set_shapes(self, shapes: Mapping[str, Shape], profile: int) -> None:
        """Of every input, which a profile must hold. What they need, and give, is known afterwards."""
        self.shapes = {}
        native = self._native
        if profile != self.profile:
            # Puts a copy into the stream: never while the stream is recorded.
            if not native.set_optimization_profile_async(profile, self._lane.compute.handle):
                raise self._failed(f"profile {profile} could not be chosen")
            self.profile = profile
        for name, shape in shapes.items():
            if not native.set_input_shape(name, shape):
                raise self._failed(f"input {name} was refused the shape {shape}")
        with told("the shapes do not go together"):
            unknown = native.infer_shapes()
        if unknown:
            raise self._failed(f"the shapes of {', '.join(unknown)} are not known")
        self.output_shapes = {name: shape_of(native.get_tensor_shape(name)) for name in self._outputs}
        self.needed = native.update_device_memory_size_for_shapes()
        self.shapes = dict(shapes)

    def forget_shapes(self) -> None:
        """Ask TensorRT anew at the next `set_shapes`."""
        self.shapes = {}

    def bind(self, addresses: Mapping[str, int], arena: Memory) -> None:
        """Where the tensors are, and its working memory: at least `needed` bytes."""
        if arena.nbytes < self.needed:  # TensorRT would write beyond its end
            raise CallFailed(f"the working memory has {arena.nbytes} bytes and {self.needed} are needed")
        with told("no working memory"):
            self._native.set_device_memory(arena.pointer, arena.nbytes)
        for name in (*self.shapes, *self._outputs):
            if not self._native.set_tensor_address(name, addresses[name]):
                raise self._failed(f"the address of {name} was refused")

    def enqueue(self) -> None:
        """Put one pass into the stream."""
        if not self._native.execute_async_v3(self._lane.compute.handle):
            raise self._failed("the forward pass was refused")


def shape_of(dims: Dims) -> Shape:
    """As a tuple."""
    return tuple(int(dims[i]) for i in range(len(dims)))
