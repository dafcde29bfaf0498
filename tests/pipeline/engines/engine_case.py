"""Recipes, targets and sidecars for the tests of engines."""

from __future__ import annotations

import hashlib

from mattemill.pipeline.engines.recipe import EngineRecipe, ShapeRange, Target
from mattemill.pipeline.engines.sidecar import Parity, Sidecar

H200 = Target("11.4.0.106", "9.0", "NVIDIA H200")
PARITY = Parity(mean_error=0.0003, worst_error=0.02, tolerance=0.01, inputs=6, gpu="NVIDIA H200")


def recipe(**changes: object) -> EngineRecipe:
    fields: dict[str, object] = {
        "backend": "tensorrt",
        "model": "u2netp",
        "onnx_sha256": "30" * 32,
        "outputs": ("1959",),
        "profiles": ((ShapeRange("input.1", (1, 3, 320, 320), (8, 3, 320, 320), (16, 3, 320, 320)),),),
        "precision": "fp16",
        "tools": (("onnx", "1.23.2"), ("onnxruntime", "1.32.0")),
        "flags": (),
        "optimisation_level": 3,
        "workspace_bytes": 4 << 30,
    }
    return EngineRecipe(**(fields | changes))  # type: ignore[arg-type]


def sidecar_of(plan: bytes, *, parity: Parity | None = PARITY, target: Target = H200, **changes: object) -> Sidecar:
    return Sidecar(recipe(**changes), target, hashlib.sha256(plan).hexdigest(), len(plan), 1.8e9, 12.5, parity)
