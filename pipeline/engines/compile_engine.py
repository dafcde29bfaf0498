"""An ONNX file into a plan: the calls to TensorRT's builder, the same for TensorRT and TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mattemill.pipeline.engines.recipe import EngineRecipe
from mattemill.pipeline.engines.tensorrt_api import INetworkDefinition, TensorRt, member
from mattemill.pipeline.engines.tensorrt_log import Messages
from mattemill.pipeline.errors import EngineError

OnStep = Callable[[float, str], None]
"""Called with the share that is done, 0..1 as far as known, and the phase's name."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """plan: the serialised engine. timing_cache: to hand to the next build; None when the backend keeps none."""

    plan: bytes
    timing_cache: bytes | None


def compile_engine(
    module: TensorRt, onnx: bytes, recipe: EngineRecipe, *, timing_cache: bytes = b"", on_step: OnStep | None = None
) -> Compiled:
    """Build a strongly typed engine from an ONNX file that `prepare` made.

    Raises EngineError with what TensorRT says. With `tensorrt` there must be a GPU, else the process dies: see
    `devices.find_cuda`. TensorRT-RTX builds without one.
    """
    messages = Messages(module)
    builder = module.Builder(messages.logger)
    if builder is None:
        raise _failed(recipe, "starts no builder", messages)
    strongly_typed = member(module, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
    network = builder.create_network(1 << int(strongly_typed))
    parser = module.OnnxParser(network, messages.logger)
    if not parser.parse(onnx):
        found = [parser.get_error(i) for i in range(parser.num_errors)]
        raise _failed(recipe, "cannot read the ONNX file", messages, [_parse_error(error) for error in found])
    _check_outputs(recipe, network)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(member(module, "MemoryPoolType", "WORKSPACE"), recipe.workspace_bytes)
    config.builder_optimization_level = recipe.optimisation_level
    tf32 = member(module, "BuilderFlag", "TF32")
    if "TF32" in recipe.flags:
        config.set_flag(tf32)
    else:
        config.clear_flag(tf32)
    for profile in recipe.profiles:
        shapes = builder.create_optimization_profile()
        for sizes in profile:
            shapes.set_shape(sizes.name, sizes.smallest, sizes.usual, sizes.largest)
        if config.add_optimization_profile(shapes) < 0:
            raise _failed(recipe, f"refuses the profile {profile}", messages)
    cache = None
    if recipe.backend == "tensorrt":
        # Made by another GPU or version it is refused, and an empty one is begun.
        cache = config.create_timing_cache(timing_cache) or config.create_timing_cache(b"")
        if cache is not None and not config.set_timing_cache(cache, False):
            cache = None
    if on_step is not None:
        config.progress_monitor = _make_monitor(module, on_step)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(recipe, "built nothing", messages)
    return Compiled(_bytes(plan), _bytes(cache.serialize()) if cache is not None else None)


def _bytes(buffer: Any) -> bytes:
    return bytes(memoryview(buffer))


def _parse_error(error: Any) -> str:
    return f"node {error.node()} {error.node_name()}: {error.desc()}"


def _check_outputs(recipe: EngineRecipe, network: INetworkDefinition) -> None:
    got = tuple(network.get_output(i).name for i in range(network.num_outputs))
    if got != recipe.outputs:
        raise EngineError(f"model {recipe.model}: the network has outputs {got}, the recipe asks for {recipe.outputs}")


def _failed(recipe: EngineRecipe, what: str, messages: Messages, more: list[str] | None = None) -> EngineError:
    said = "; ".join([*(more or []), *messages.take_errors()]) or "it does not say why"
    return EngineError(f"model {recipe.model} in {recipe.precision}: {recipe.backend} {what}: {said}")


def _make_monitor(module: TensorRt, on_step: OnStep) -> Any:
    base = module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type]  # TensorRT takes only what derives from its own
        """Phases nest; the share is that of the outermost one, with the part that the inner ones have done of it."""

        def __init__(self) -> None:
            base.__init__(self)
            self._phases: list[list[Any]] = []  # name, steps, done

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.append([phase_name, max(1, num_steps), 0])
            on_step(self._share(), phase_name)

        def phase_finish(self, phase_name: str) -> None:
            self._phases = [phase for phase in self._phases if phase[0] != phase_name]

        def step_complete(self, phase_name: str, step: int) -> bool:
            for phase in self._phases:
                if phase[0] == phase_name:
                    phase[2] = step + 1
            on_step(self._share(), phase_name)
            return True

        def _share(self) -> float:
            share, of = 0.0, 1.0
            for _, steps, done in self._phases:
                share += of * min(done, steps) / steps
                of /= steps
            return min(1.0, share)

    return Monitor()
