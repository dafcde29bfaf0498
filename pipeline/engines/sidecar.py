"""The JSON file beside an engine: what it was built from and for, its hash, and whether its output was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mattemill.pipeline.engines.recipe import EngineRecipe, Target, engine_key, recipe_from_json, recipe_json
from mattemill.pipeline.errors import EngineError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Parity:
    """How near an engine's outputs came to those of the unchanged ONNX file in ONNX Runtime, in float32 on the CPU.

    mean_error, worst_error: of all output values, absolute, over all inputs; the largest of the outputs.
    tolerance: that mean_error had to stay under. inputs: how many were compared. gpu: where the engine ran.
    """

    mean_error: float
    worst_error: float
    tolerance: float
    inputs: int
    gpu: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything about one engine but the engine.

    plan_sha256, plan_bytes: of the engine's file. built_at: seconds since 1970. parity: None when nothing could run
    the engine where it was built (TensorRT-RTX builds without a GPU); it is checked before it is first used.
    """

    recipe: EngineRecipe
    target: Target
    plan_sha256: str
    plan_bytes: int
    built_at: float
    build_seconds: float
    parity: Parity | None

    @property
    def key(self) -> str:
        return engine_key(self.recipe, self.target)

    def dumps(self) -> str:
        """As text. `loads` gives it back."""
        return json.dumps(
            {
                "format": FORMAT,
                "key": self.key,
                "recipe": recipe_json(self.recipe),
                "target": asdict(self.target),
                "plan_sha256": self.plan_sha256,
                "plan_bytes": self.plan_bytes,
                "built_at": self.built_at,
                "build_seconds": self.build_seconds,
                "parity": asdict(self.parity) if self.parity is not None else None,
            },
            indent=1,
        )


def loads(text: str) -> Sidecar:
    """A sidecar from its text. Raises EngineError when it is damaged, changed by hand, or of another format."""
    try:
        plain: Mapping[str, Any] = json.loads(text)
        if plain["format"] != FORMAT:
            raise ValueError(f"format {plain['format']}, this mattemill writes {FORMAT}")
        sidecar = Sidecar(
            recipe=recipe_from_json(plain["recipe"]),
            target=Target(**plain["target"]),
            plan_sha256=str(plain["plan_sha256"]),
            plan_bytes=int(plain["plan_bytes"]),
            built_at=float(plain["built_at"]),
            build_seconds=float(plain["build_seconds"]),
            parity=Parity(**plain["parity"]) if plain["parity"] is not None else None,
        )
        if plain["key"] != sidecar.key:
            raise ValueError("its key is not that of its recipe")
    except (KeyError, TypeError, ValueError, EngineError) as error:
        raise EngineError(f"cannot be read ({error})") from error
    return sidecar
