"""Which channels of a network belong together, so that they can only go together.

The dependency analysis of Fang, Ma, Song, Mi, Wang, DepGraph: Towards Any Structural Pruning, CVPR 2023, done by
channel and not by layer: every channel of every tensor gets the number of the unit that it belongs to. A convolution
makes new units; a concatenation puts rows of them behind each other; an addition makes those of its two sides one.
Then what one unit's removal takes from each weight stands in that weight's rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.training.pruning.onnx_file import attributes, called, weights_of

Units = npt.NDArray[np.intp]
"""The unit of each channel of a tensor: (channels,)."""

PASSING: Final = frozenset(
    {"Relu", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Identity", "Clip"}
)
"""Operators whose output has the channels of their first input."""

ELEMENTWISE: Final = frozenset({"Add", "Sub", "Mul", "Div"})
_SHAPES: Final = frozenset({"Constant", "Shape", "Gather", "Unsqueeze", "Squeeze", "Slice", "Cast", "Concat", "Floor"})
KNOWN: Final = PASSING | ELEMENTWISE | _SHAPES | {"Conv", "BatchNormalization"}
"""Operators that this folder understands; those of `_SHAPES`, and Concat, between numbers that are computed of shapes
as well."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A Conv node: the units that it reads and makes.

    output: the tensor that it writes. bias: None without one. depthwise: one filter a channel, the units go through.
    taps: of the kernel, 9 for 3x3. Its weight is (len(outs), len(ins), ...), of a depthwise one (len(outs), 1, ...).
    """

    name: str
    output: str
    weight: str
    bias: str | None
    ins: Units
    outs: Units
    depthwise: bool
    taps: int


@dataclass(frozen=True, slots=True)
class Channels:
    """The units of a network.

    count: units are 0 .. count - 1. fixed: bool (count,), those of inputs and outputs and what cannot lose channels.
    vectors: other parameters with one number a channel (of batch normalisation), and their units.
    resized: Resize nodes (by their output) with the units of what they resize.
    """

    count: int
    fixed: npt.NDArray[np.bool_]
    convolutions: tuple[Convolution, ...]
    vectors: tuple[tuple[str, Units], ...]
    resized: dict[str, Units]


def channels_of(model: onnx.ModelProto) -> Channels:
    """Analyse a network as `read_onnx` gives it.

    Raises ModelError that names the node, for an operator that is not in KNOWN or is used in a way that is not known.
    """
    return _Analysis(model).result()


class _Analysis:
    """Walks the nodes once, in the order of the file, and joins what is tied (union-find over channels)."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._weights = weights_of(model)
        self._parents: list[int] = []
        self._fixed: list[int] = []
        self._tensors: dict[str, list[int]] = {}
        self._convolutions: list[tuple[onnx.NodeProto, list[int], list[int], bool]] = []
        self._vectors: list[tuple[str, list[int]]] = []
        self._resized: dict[str, list[int]] = {}
        self._weight_rows: dict[str, tuple[list[int], list[int]]] = {}

    def result(self) -> Channels:
        for given in self._graph.input:
            dims = given.type.tensor_type.shape.dim
            if len(dims) != 4 or dims[1].dim_value < 1:
                raise ModelError(f"input {given.name}: must be (n, channels, h, w) with its channels written down")
            self._tensors[given.name] = self._new(dims[1].dim_value, fixed=True)
        for node in self._graph.node:
            self._walk(node)
        for out in self._graph.output:
            if out.name not in self._tensors:
                raise ModelError(f"output {out.name}: is not made of the input's pixels; only such networks are pruned")
            self._fixed += self._tensors[out.name]
        return self._numbered()

    def _walk(self, node: onnx.NodeProto) -> None:
        if node.op_type not in KNOWN or node.domain not in ("", "ai.onnx"):
            raise ModelError(
                f"{called(node)}: this operator cannot be pruned around; known are {', '.join(sorted(KNOWN))}"
            )
        pixels = [name for name in node.input if name in self._tensors]
        if not pixels or node.op_type == "Shape":
            return  # numbers that are computed of shapes
        rows = [self._tensors[name] for name in pixels]
        if node.op_type == "Conv":
            out = self._convolve(node, rows[0])
        elif node.op_type == "BatchNormalization":
            out = rows[0]
            self._vectors += [(name, rows[0]) for name in node.input[1:5]]
        elif node.op_type == "Concat":
            if attributes(node)["axis"] not in (1, -3) or len(pixels) != len(node.input):
                raise ModelError(f"{called(node)}: only tensors of the network are joined, and along their channels")
            out = [one for row in rows for one in row]
        elif node.op_type in ELEMENTWISE:
            out = self._elementwise(node, rows)
        elif node.op_type in PASSING:
            out = rows[0]
            if node.op_type == "Resize":
                self._resized[node.output[0]] = out
        else:
            raise ModelError(f"{called(node)}: cuts through pixels, which cannot be pruned around")
        self._tensors[node.output[0]] = out

    def _convolve(self, node: onnx.NodeProto, ins: list[int]) -> list[int]:
        weight = self._weights.get(node.input[1])
        bias = self._weights.get(node.input[2]) if len(node.input) > 2 else None
        if weight is None or weight.dtype != np.float32 or (len(node.input) > 2 and bias is None):
            raise ModelError(f"{called(node)}: its weights must be in the file, as float32 (quantise after pruning)")
        groups = attributes(node).get("group", 1)
        depthwise = groups > 1 and groups == len(ins) == weight.shape[0]
        if groups > 1 and not depthwise:
            self._fixed += ins
            outs = self._new(weight.shape[0], fixed=True)
        else:
            outs = ins if depthwise else self._new(weight.shape[0])
        if weight.shape[1] * groups != len(ins):
            raise ModelError(f"{called(node)}: has weights for {weight.shape[1] * groups} channels, reads {len(ins)}")
        if groups == 1 or depthwise:
            self._convolutions.append((node, ins, outs, depthwise))
        shared = self._weight_rows.setdefault(node.input[1], (ins, outs))
        self._tie(shared[0], ins)
        self._tie(shared[1], outs)
        return outs

    def _elementwise(self, node: onnx.NodeProto, rows: Sequence[list[int]]) -> list[int]:
        if len(rows) == 1:
            other = next(name for name in node.input if name not in self._tensors)
            if (constant := self._weights.get(other)) is not None and constant.size > 1:
                self._fixed += rows[0]  # a constant for each channel or pixel
            return rows[0]
        a, b = rows
        if len(a) == len(b):
            self._tie(a, b)
            return a
        few, many = sorted((a, b), key=len)
        if len(few) != 1:
            raise ModelError(f"{called(node)}: has {len(a)} channels on one side and {len(b)} on the other")
        self._fixed += few  # one map for all channels
        return many

    def _new(self, count: int, *, fixed: bool = False) -> list[int]:
        first = len(self._parents)
        made = list(range(first, first + count))
        self._parents += made
        if fixed:
            self._fixed += made
        return made

    def _tie(self, a: Sequence[int], b: Sequence[int]) -> None:
        for one, other in zip(a, b, strict=True):
            x, y = self._root(one), self._root(other)
            self._parents[max(x, y)] = min(x, y)

    def _root(self, one: int) -> int:
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one

    def _numbered(self) -> Channels:
        roots = [self._root(i) for i in range(len(self._parents))]
        numbers = {root: i for i, root in enumerate(sorted(set(roots)))}

        def units(row: Sequence[int]) -> Units:
            return np.array([numbers[roots[i]] for i in row], np.intp)

        fixed = np.zeros(len(numbers), np.bool_)
        fixed[units(self._fixed)] = True
        return Channels(
            len(numbers),
            fixed,
            tuple(self._convolution(node, units(i), units(o), dw) for node, i, o, dw in self._convolutions),
            tuple((name, units(row)) for name, row in self._vectors),
            {name: units(row) for name, row in self._resized.items()},
        )

    def _convolution(self, node: onnx.NodeProto, ins: Units, outs: Units, depthwise: bool) -> Convolution:
        shape: Any = self._weights[node.input[1]].shape
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        name = node.name or node.output[0]
        return Convolution(name, node.output[0], node.input[1], bias, ins, outs, depthwise, int(np.prod(shape[2:])))
