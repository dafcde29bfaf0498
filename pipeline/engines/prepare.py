"""The ONNX file that an engine is built from, made of the network's own: outputs, free batch, precision.

TensorRT 11 takes the types as the file has them, so lower precision is written into the file: here fp16 by the
converter of onnxruntime.transformers, with inputs and outputs left in float32. It takes a tenth of a second for u2netp
and changes its map, 0..1, by .0023 on average over two photographs (ONNX Runtime on a CPU).
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from mattemill.pipeline.engines.recipe import EngineRecipe, Precision
from mattemill.pipeline.errors import EngineError, ModelError
from mattemill.pipeline.models.rewrite_deform_conv import rewrite_deform_conv

_REWRITE = "2"
"""Of the rewriting below. Another number for every change that can change its output: it is part of an engine's key."""

_INSTALL = "pip install 'mattemill[gpu]' installs it"


def tools_of(precision: Precision) -> tuple[tuple[str, str], ...]:
    """(name, version) of everything that takes part. Raises EngineError when the onnx package is missing."""
    names = ("onnx", "onnxruntime") if precision == "fp16" else ("onnx",)
    found = [("mattemill-rewrite", _REWRITE)]
    for name in names:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            # onnxruntime-gpu has another distribution's name for the same module.
            found.append((name, _module_version(name)))
    return tuple(found)


def prepare(path: Path, recipe: EngineRecipe) -> bytes:
    """The ONNX file to build from.

    Only the recipe's outputs, in their order; dimensions that differ inside a profile are free; weights and
    arithmetic in the recipe's precision; DeformConv, which TensorRT lacks, as GridSample. Raises ModelError when the
    file is not the network of the recipe, EngineError when the onnx package is missing.
    """
    model = _load(path)
    _keep_outputs(model, recipe, path)
    _drop_initialisers_from_inputs(model)
    _free_dimensions(model, recipe, path)
    if recipe.precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True)
    # After the conversion: what computes places in pixels stays in float32.
    rewrite_deform_conv(model)
    data: bytes = model.SerializeToString()
    return data


def input_channels(path: Path, name: str) -> int:
    """How many planes an input (n, planes, h, w) has in the file. Raises ModelError, EngineError as `prepare`."""
    model = _load(path)
    for given in model.graph.input:
        if given.name == name:
            return int(given.type.tensor_type.shape.dim[1].dim_value)
    raise ModelError(f"{path}: has no input {name}; it has {', '.join(given.name for given in model.graph.input)}")


def _load(path: Path) -> Any:
    onnx = _onnx()
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's errors have no common base
        raise ModelError(f"{path}: is no ONNX file ({error})") from error


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise EngineError(f"building engines needs the onnx package ({error}): {_INSTALL}") from error
    return onnx


def _module_version(name: str) -> str:
    import importlib

    try:
        return str(importlib.import_module(name).__version__)
    except ImportError as error:
        raise EngineError(f"building engines needs {name} ({error}): {_INSTALL}") from error


def _keep_outputs(model: Any, recipe: EngineRecipe, path: Path) -> None:
    """Drop the other outputs and what only they need."""
    by_name = {output.name: output for output in model.graph.output}
    missing = [name for name in recipe.outputs if name not in by_name]
    if missing:
        raise ModelError(f"{path}: has no output {', '.join(missing)}; it has {', '.join(by_name)}")
    kept = [by_name[name] for name in recipe.outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    wanted = set(recipe.outputs)
    nodes = []
    for node in reversed(model.graph.node):  # ONNX keeps them sorted: users behind makers
        if wanted.intersection(node.output):
            nodes.append(node)
            wanted.update(node.input)
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    wanted.update(name for inner in graph.node for name in inner.input)
    nodes.reverse()
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = [weight for weight in model.graph.initializer if weight.name in wanted]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)
    # Shapes that an exporter wrote down for a batch of one.
    del model.graph.value_info[:]


def _drop_initialisers_from_inputs(model: Any) -> None:
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [given for given in model.graph.input if given.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _free_dimensions(model: Any, recipe: EngineRecipe, path: Path) -> None:
    inputs = {given.name: given for given in model.graph.input}
    for profile in recipe.profiles:
        for sizes in profile:
            if sizes.name not in inputs:
                raise ModelError(f"{path}: has no input {sizes.name}; it has {', '.join(inputs)}")
            shape = inputs[sizes.name].type.tensor_type.shape.dim
            if len(shape) != len(sizes.smallest):
                raise ModelError(f"{path}: input {sizes.name} has {len(shape)} dimensions, not {len(sizes.smallest)}")
            for axis, (low, high) in enumerate(zip(sizes.smallest, sizes.largest, strict=True)):
                if low != high:
                    shape[axis].dim_param = f"{sizes.name}.{axis}"
                else:
                    shape[axis].dim_value = low
    if recipe.profiles:
        for output in model.graph.output:
            rank = len(output.type.tensor_type.shape.dim)
            del output.type.tensor_type.shape.dim[:]
            for axis in range(rank):
                output.type.tensor_type.shape.dim.add().dim_param = f"{output.name}.{axis}"
