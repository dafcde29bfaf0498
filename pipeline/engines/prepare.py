"""The ONNX file that an engine is built from, made of the network's own: outputs, free batch, precision.

TensorRT 11 takes the types as the file has them, so lower precision is written into the file: here fp16 by the
converter of onnxruntime.transformers, with inputs and outputs left in float32. It takes a tenth of a second for u2netp
and changes its map, 0..1, by .0023 on average over two photographs (ONNX Runtime on a CPU).
"""

from __future__ import annotations

import heapq
from importlib import metadata
from pathlib import Path
from typing import Any

from mattemill.pipeline.engines.recipe import EngineRecipe, Precision
from mattemill.pipeline.errors import EngineError, ModelError
from mattemill.pipeline.models.rewrite_deform_conv import rewrite_deform_conv

_REWRITE = "2"
"""Of the rewriting below. Another number for every change that can change its output: it is part of an engine's key."""

_HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")

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
    if recipe.precision == "fp16" and not _in_halves(model):
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
    nodes, wanted = _needed(list(model.graph.node), recipe.outputs)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = [weight for weight in model.graph.initializer if weight.name in wanted]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)
    # Shapes that an exporter wrote down for a batch of one.
    del model.graph.value_info[:]


def _in_halves(model: Any) -> bool:
    """Whether the file computes in half precision as it is (IS-Net's), not only stores its weights so (our own)."""
    onnx = _onnx()
    halves = {weight.name for weight in model.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT16}
    return any(node.op_type in _HEAVY and halves.intersection(node.input) for node in model.graph.node)


def _needed(nodes: list[Any], outputs: tuple[str, ...]) -> tuple[list[Any], set[str]]:
    """The nodes that the outputs need, users behind makers, else in the file's order; and all names that they read.

    Not every file has its nodes in order: IS-Net's has its output's first.
    """
    maker = {made: number for number, node in enumerate(nodes) for made in node.output if made}
    reads = [set(node.input).union(*(_inner_reads(attribute) for attribute in node.attribute)) for node in nodes]
    wanted = set(outputs)
    kept: set[int] = set()
    open_names = list(outputs)
    while open_names:
        number = maker.get(open_names.pop())
        if number is not None and number not in kept:
            kept.add(number)
            wanted |= reads[number]
            open_names += reads[number]
    waits = {number: {maker[name] for name in reads[number] if name in maker} for number in kept}
    users: dict[int, list[int]] = {number: [] for number in kept}
    for number, makers in waits.items():
        for made_by in makers:
            users[made_by].append(number)
    ready = [number for number, makers in waits.items() if not makers]
    heapq.heapify(ready)
    order = []
    while ready:
        number = heapq.heappop(ready)
        order.append(nodes[number])
        for user in users[number]:
            waits[user].discard(number)
            if not waits[user]:
                heapq.heappush(ready, user)
    return order, wanted


def _inner_reads(attribute: Any) -> set[str]:
    """Names that the nodes of an attribute's subgraphs read, at any depth."""
    found: set[str] = set()
    for graph in (attribute.g, *attribute.graphs):
        for inner in graph.node:
            found.update(inner.input, *(_inner_reads(deeper) for deeper in inner.attribute))
    return found


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
