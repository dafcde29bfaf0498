"""All of TensorRT that mattemill touches, as Protocols, and where the two libraries that have it are imported.

The rest of the code sees TensorRT only through these, so mypy proves that it touches nothing else, and a test compares
every name and parameter below with the real bindings of TensorRT 11.4 and of TensorRT-RTX. A class here is named after
the real one; `TensorRt` is the module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from mattemill.pipeline.engines.recipe import Backend
from mattemill.pipeline.errors import EngineError

INSTALL = {
    "tensorrt": "pip install 'mattemill[gpu]' (the packages tensorrt, pycuda and onnx), on a machine with a GPU",
    "tensorrt_rtx": "pip install tensorrt-rtx",
}


class Dims(Protocol):
    """A shape; -1 is free."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> int: ...


class ITensor(Protocol):
    @property
    def name(self) -> str: ...


class INetworkDefinition(Protocol):
    @property
    def num_outputs(self) -> int: ...
    def get_output(self, index: int) -> ITensor: ...


class ParserError(Protocol):
    def desc(self) -> str: ...
    def node(self) -> int: ...
    def node_name(self) -> str: ...


class OnnxParser(Protocol):
    @property
    def num_errors(self) -> int: ...
    def parse(self, model: bytes) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IOptimizationProfile(Protocol):
    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...


class IHostMemory(Protocol):
    """A buffer: `memoryview` takes it."""

    @property
    def nbytes(self) -> int: ...


class ITimingCache(Protocol):
    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    builder_optimization_level: int
    progress_monitor: Any

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...
    def set_flag(self, flag: Any) -> None: ...
    def clear_flag(self, flag: Any) -> None: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class Builder(Protocol):
    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None: ...


class IExecutionContext(Protocol):
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def infer_shapes(self) -> list[str]: ...
    def get_tensor_shape(self, name: str) -> Dims: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def update_device_memory_size_for_shapes(self) -> int: ...
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class ICudaEngine(Protocol):
    @property
    def num_io_tensors(self) -> int: ...
    @property
    def num_optimization_profiles(self) -> int: ...
    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Any: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def get_tensor_shape(self, name: str) -> Dims: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]: ...
    def create_execution_context(self, strategy: Any) -> IExecutionContext | None: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...


class TensorRt(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`."""

    __version__: str

    @property
    def Builder(self) -> Callable[[Any], Builder]: ...
    @property
    def OnnxParser(self) -> Callable[[INetworkDefinition, Any], OnnxParser]: ...
    @property
    def Runtime(self) -> Callable[[Any], Runtime]: ...
    @property
    def ILogger(self) -> Any: ...
    @property
    def IProgressMonitor(self) -> Any: ...
    @property
    def BuilderFlag(self) -> Any: ...
    @property
    def MemoryPoolType(self) -> Any: ...
    @property
    def NetworkDefinitionCreationFlag(self) -> Any: ...
    @property
    def ExecutionContextAllocationStrategy(self) -> Any: ...
    @property
    def TensorIOMode(self) -> Any: ...
    @property
    def DataType(self) -> Any: ...


MEMBERS = {
    "BuilderFlag": ("TF32",),
    "MemoryPoolType": ("WORKSPACE",),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "TensorIOMode": ("INPUT", "OUTPUT"),
    "DataType": ("FLOAT",),
    "ILogger": ("log",),
    "IProgressMonitor": ("phase_start", "phase_finish", "step_complete"),
}
"""Of the classes that the Protocols leave open: the members that we touch. Their users ask through `member`."""


def member(module: TensorRt, owner: str, name: str) -> Any:
    """A member of one of the module's open classes, and only one that MEMBERS lists. Raises KeyError otherwise."""
    if name not in MEMBERS[owner]:
        raise KeyError(f"{owner}.{name} is not in MEMBERS, so nothing proves that TensorRT has it")
    return getattr(getattr(module, owner), name)


def import_tensorrt(backend: Backend) -> TensorRt:
    """The module of a backend. Raises EngineError saying how to install it. Touches no GPU."""
    try:
        module = importlib.import_module(backend)
    except (ImportError, OSError) as error:
        raise EngineError(f"backend {backend} is not installed ({error}): {INSTALL[backend]}") from error
    return cast("TensorRt", module)


def version_of(backend: Backend) -> str | None:
    """The version that is installed, None when it is not."""
    try:
        return import_tensorrt(backend).__version__
    except EngineError:
        return None
