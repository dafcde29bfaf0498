"""A network's ONNX file in the form in which the rest of this folder works on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from mattemill.pipeline.errors import ModelError

_IR_WITH_FREE_INITIALISERS = 4  # from it on initialisers need not be inputs, too


def read_onnx(path: Path) -> onnx.ModelProto:
    """The network with its weights as initialisers of the graph and none of them among its inputs.

    Raises ModelError when the file is no ONNX file, or is of an opset that nobody wrote down.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's errors have no common base
        raise ModelError(f"{path}: is no valid ONNX file ({_first_line(error)})") from error
    return tidy(model)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with float Constant nodes as initialisers, no initialiser among the inputs, and no written-down shapes of
    what lies between (pruning changes them, and runtimes find them out)."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    nodes = []
    for node in graph.node:
        value = attributes(node).get("value") if node.op_type == "Constant" else None
        if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim >= 1 and value.size > 1:
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in graph.input if i.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    out.ir_version = max(out.ir_version, _IR_WITH_FREE_INITIALISERS)
    return out


def weights_of(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """The initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def with_weights(model: onnx.ModelProto, weights: Mapping[str, npt.NDArray[Any]]) -> onnx.ModelProto:
    """A copy with the named initialisers replaced, whatever their shapes. Raises KeyError for one that is not there."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    there = {tensor.name: tensor for tensor in out.graph.initializer}
    for name, values in weights.items():
        there[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return out


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as plain values: numbers, strings, lists, and NumPy arrays for tensors."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        elif isinstance(value, bytes):
            value = value.decode()
        found[attribute.name] = value
    return found


def called(node: onnx.NodeProto) -> str:
    """What messages call a node."""
    return f"{node.op_type} {node.name or node.output[0]}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
