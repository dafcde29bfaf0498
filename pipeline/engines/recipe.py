"""What an engine is built from and what for, and the key that follows from it.

Two builds with the same key are interchangeable, so everything that can change a plan is in it: the network's bytes,
the shapes, the precision and the tools that made it, the builder's settings, TensorRT's version and the GPU.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mattemill.pipeline.errors import EngineError

Backend = Literal["tensorrt", "tensorrt_rtx"]
Precision = Literal["fp32", "fp16"]
Shape = tuple[int, ...]

BACKENDS: tuple[Backend, ...] = ("tensorrt", "tensorrt_rtx")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
PORTABLE = "portable"
"""Compute capability and GPU name of a plan that TensorRT-RTX made for every GPU that it knows."""


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes of one input that an optimisation profile covers, whole shapes with the batch first.

    usual: the one that the engine is tuned for. Raises EngineError unless smallest <= usual <= largest everywhere.
    """

    name: str
    smallest: Shape
    usual: Shape
    largest: Shape

    def __post_init__(self) -> None:
        shapes = (self.smallest, self.usual, self.largest)
        if len({len(shape) for shape in shapes}) != 1 or not self.smallest:
            raise EngineError(f"profile of input {self.name}: {shapes} differ in their number of dimensions")
        if not all(1 <= low <= mid <= high for low, mid, high in zip(*shapes, strict=True)):
            raise EngineError(f"profile of input {self.name}: {shapes} do not grow from smallest to largest")

    def holds(self, shape: Shape) -> bool:
        """Whether an input of this shape fits."""
        return len(shape) == len(self.smallest) and all(
            low <= side <= high for low, side, high in zip(self.smallest, shape, self.largest, strict=True)
        )


Profile = tuple[ShapeRange, ...]
"""One optimisation profile: a range for every input that has free dimensions."""


@dataclass(frozen=True, slots=True)
class EngineRecipe:
    """What an engine is built from.

    model: its name, for messages and file names. onnx_sha256: of the ONNX file with its external data, before anything
    is done to it. outputs: the tensors that are kept. profiles: in the order of their numbers; empty for a network
    without free dimensions. precision: of the arithmetic; inputs and outputs stay float32. tools: (name, version) of
    what rewrote the ONNX. flags: names of the builder's flags, sorted. workspace_bytes: the most that a layer may
    take while it is chosen and run.
    """

    backend: Backend
    model: str
    onnx_sha256: str
    outputs: tuple[str, ...]
    profiles: tuple[Profile, ...]
    precision: Precision
    tools: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]
    optimisation_level: int
    workspace_bytes: int


@dataclass(frozen=True, slots=True)
class Target:
    """What an engine is built for: a plan runs on exactly this.

    version: of TensorRT or TensorRT-RTX. compute_capability: '9.0', or PORTABLE. gpu: as the driver names it, or
    PORTABLE.
    """

    version: str
    compute_capability: str
    gpu: str

    @property
    def portable(self) -> bool:
        """Whether the plan is for every GPU that the version knows."""
        return self.compute_capability == PORTABLE


def engine_key(recipe: EngineRecipe, target: Target) -> str:
    """64 hex digits: equal exactly when recipe and target are equal."""
    text = json.dumps([recipe_json(recipe), asdict(target)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_json(recipe: EngineRecipe) -> dict[str, Any]:
    """As JSON holds it: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return plain


def recipe_from_json(plain: Mapping[str, Any]) -> EngineRecipe:
    """The inverse of `recipe_json`. Raises KeyError, TypeError, ValueError or EngineError on anything else."""
    backend, precision = plain["backend"], plain["precision"]
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise ValueError(f"backend {backend!r} with precision {precision!r} is not known")
    return EngineRecipe(
        backend=backend,
        model=str(plain["model"]),
        onnx_sha256=str(plain["onnx_sha256"]),
        outputs=tuple(plain["outputs"]),
        profiles=tuple(
            tuple(ShapeRange(r["name"], tuple(r["smallest"]), tuple(r["usual"]), tuple(r["largest"])) for r in profile)
            for profile in plain["profiles"]
        ),
        precision=precision,
        tools=tuple((str(name), str(version)) for name, version in plain["tools"]),
        flags=tuple(plain["flags"]),
        optimisation_level=int(plain["optimisation_level"]),
        workspace_bytes=int(plain["workspace_bytes"]),
    )
