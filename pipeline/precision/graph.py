"""An ONNX network as the precision tools see it: its convolutions, who reads what, and copies with changed weights.

The onnx package is needed (extras [gpu], [rtx] and [train] bring it).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.errors import EngineError, ModelError

OPSET: Final = 13
"""The first whose DequantizeLinear has scales by channel."""

OPSET_FP8: Final = 19
"""The first whose QuantizeLinear knows FLOAT8E4M3FN."""

_SAME = ("MaxPool", "Resize")  # their output has the channels and the range of their first input
_JOINS = ("Concat", "Add")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution with its weights in the file, and the ReLU after it where there is one.

    name: its node's, or that of its output where nodes have none. input, output: tensors; the output is the ReLU's.
    raw: the convolution's own output. weight, bias: names of initialisers; bias None when there is none.
    """

    name: str
    input: str
    output: str
    raw: str
    weight: str
    bias: str | None

    @property
    def rectified(self) -> bool:
        """Whether a ReLU follows."""
        return self.output != self.raw


class Graph:
    """A model with its look-ups. It is not changed; `changed` makes another."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes: list[Any] = list(model.graph.node)
        self.maker: dict[str, Any] = {made: node for node in self.nodes for made in node.output if made}
        self.users: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.input: str = model.graph.input[0].name
        self.outputs: tuple[str, ...] = tuple(each.name for each in model.graph.output)

    @cached_property
    def values(self) -> dict[str, npt.NDArray[Any]]:
        """The initialisers as arrays."""
        onnx = require_onnx()
        return {each.name: onnx.numpy_helper.to_array(each) for each in self.model.graph.initializer}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every Conv of float32 weights that lie in the file, in the order of the graph."""
        found = []
        for node in self.nodes:
            if node.op_type != "Conv" or self.values.get(node.input[1], np.empty(0)).dtype != np.float32:
                continue
            bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
            if bias is not None and bias not in self.values:
                continue
            users = self.users.get(node.output[0], [])
            last = node.output[0]
            if len(users) == 1 and users[0].op_type == "Relu" and last not in self.outputs:
                last = users[0].output[0]
            found.append(Layer(node_name(node), node.input[0], last, node.output[0], node.input[1], bias))
        return tuple(found)

    def channels(self, tensor: str) -> int | None:
        """How many channels a tensor has as far as the convolutions tell; None where they do not."""
        node = self.maker.get(tensor)
        if node is None:
            if tensor != self.input:
                return None
            shape = self.model.graph.input[0].type.tensor_type.shape.dim
            return int(shape[1].dim_value) or None if len(shape) == 4 else None
        if node.op_type == "Conv":
            weight = self.values.get(node.input[1])
            return None if weight is None else len(weight)
        if node.op_type == "Concat" and _is_by_channel(node):
            parts = [self.channels(each) for each in node.input]
            return None if None in parts else sum(each for each in parts if each is not None)
        return self.channels(node.input[0]) if node.op_type in (*_SAME, "Relu", "Add") else None

    def readers(self, tensor: str) -> list[tuple[Layer, int]] | None:
        """The layers that read a tensor's channels, each with where they begin in its input.

        Through pooling, resizing and joining by channel. None when something else reads its values, too.
        """
        if tensor in self.outputs:
            return None
        by_raw = {layer.raw: layer for layer in self.layers}
        found: list[tuple[Layer, int]] = []
        for node in self.users.get(tensor, []):
            offset = 0
            if node.op_type == "Shape":  # reads no value
                continue
            if node.op_type == "Conv" and node.input[0] == tensor and node.output[0] in by_raw:
                found.append((by_raw[node.output[0]], 0))
                continue
            if node.op_type == "Concat" and _is_by_channel(node):
                before = [self.channels(each) for each in list(node.input)[: list(node.input).index(tensor)]]
                if None in before or list(node.input).count(tensor) > 1:
                    return None
                offset = sum(each for each in before if each is not None)
            elif not (node.op_type in _SAME and node.input[0] == tensor):
                return None
            further = self.readers(node.output[0])
            if further is None:
                return None
            found += [(layer, offset + at) for layer, at in further]
        return found

    def same_range(self, tensor: str) -> str | None:
        """The tensor from which this one takes its values unchanged or as means of them; None when it has its own."""
        node = self.maker.get(tensor)
        return node.input[0] if node is not None and node.op_type in _SAME else None

    def passes(self, node: Any) -> list[str] | None:
        """The tensors that a node hands on or joins, so that it can do so in eight bits; None for other nodes."""
        if node.op_type in _SAME:
            return [node.input[0]]
        if node.op_type in _JOINS and not any(name in self.values for name in node.input):
            return list(node.input)
        return None

    def behind(self, tensor: str) -> set[str]:
        """The tensor, and those that it was pooled, resized or joined from."""
        found: set[str] = set()
        due = [tensor]
        while due:
            name = due.pop()
            if name not in found:
                found.add(name)
                node = self.maker.get(name)
                due += (self.passes(node) or []) if node is not None else []
        return found

    def changed(self, values: Mapping[str, npt.NDArray[Any]]) -> Graph:
        """A copy with these initialisers instead of its own. An initialiser that several read changes for all."""
        onnx = require_onnx()
        model = type(self.model)()
        model.CopyFrom(self.model)
        for each in model.graph.initializer:
            if each.name in values:
                given = np.asarray(values[each.name], self.values[each.name].dtype)
                each.CopyFrom(onnx.numpy_helper.from_array(given, each.name))
        return Graph(model)

    def sizes(self) -> dict[str, int]:
        """How many numbers each tensor holds, where shape inference can tell."""
        inferred = require_onnx().shape_inference.infer_shapes(self.model, data_prop=True)
        found = {}
        for each in (*inferred.graph.value_info, *inferred.graph.output):
            kind = each.type.tensor_type
            count = math.prod(size.dim_value for size in kind.shape.dim) if kind.HasField("shape") else 0
            if count > 0:  # a free dimension has no value and counts as 0
                found[each.name] = count
        return found

    def exposing(self, tensors: Iterable[str]) -> bytes:
        """The file with these tensors as further outputs."""
        onnx = require_onnx()
        model = type(self.model)()
        model.CopyFrom(self.model)
        for name in tensors:
            if name not in self.outputs and name != self.input:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        data: bytes = model.SerializeToString()
        return data

    def to_bytes(self) -> bytes:
        """The file."""
        data: bytes = self.model.SerializeToString()
        return data


def read_graph(path: Path, outputs: tuple[str, ...], opset: int = OPSET) -> Graph:
    """The network in a file, at least in this opset, with no other outputs and nothing that only they need.

    Raises ModelError when the file is no ONNX or lacks an output, EngineError when the onnx package is missing.
    """
    onnx = require_onnx()
    from onnx import version_converter

    try:
        model = onnx.load(str(path))
        version = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
        if version < opset:
            model = version_converter.convert_version(model, opset)
    except Exception as error:  # protobuf's and the converter's errors have no common base
        raise ModelError(f"{path}: cannot be read as ONNX of opset {opset} ({error})") from error
    kept = {each.name: each for each in model.graph.output}
    missing = [name for name in outputs if name not in kept]
    if missing:
        raise ModelError(f"{path}: has no output {', '.join(missing)}; it has {', '.join(kept)}")
    del model.graph.output[:]
    model.graph.output.extend(kept[name] for name in outputs)
    drop_unused(model)
    del model.graph.value_info[:]
    return Graph(model)


def drop_unused(model: Any) -> None:
    """Take out the nodes and initialisers that no output needs. The nodes must be in order, makers first."""
    needed = {each.name for each in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    used = [each for each in model.graph.initializer if each.name in needed]
    inputs = [each for each in model.graph.input if each.name not in {value.name for value in used}]
    for field, content in (("node", nodes[::-1]), ("initializer", used), ("input", inputs)):
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(content)


def node_name(node: Any) -> str:
    """Of a node, or of its first output when it has none."""
    return str(node.name or node.output[0])


def require_onnx() -> Any:
    """The onnx package. Raises EngineError when it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise EngineError(
            f"changing a network's precision needs the onnx package ({error}): `pip install onnx`"
        ) from error
    return onnx


def _is_by_channel(node: Any) -> bool:
    return any(each.name == "axis" and each.i == 1 for each in node.attribute)
