"""Explicit Q/DQ: a network whose convolutions read, and whose weights are, eight bits, as ONNX writes it down.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018.
Every convolution of the plan reads its input through QuantizeLinear and DequantizeLinear and its weights through
DequantizeLinear, and its output is quantised, too; pooling, resizing and joining of such tensors stay in eight bits.
ONNX Runtime and TensorRT make integer kernels of these patterns; run as written they give the same in float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.onnxruntime_engine import PRECISION_KEY
from mattemill.pipeline.precision.calibration import Activations, clip_range
from mattemill.pipeline.precision.graph import Graph, Layer, drop_unused, node_name, require_onnx
from mattemill.pipeline.precision.rounding import rounded_by_kernel

Eight = Literal["int8", "fp8"]

_FP8_TOP: Final = 448.0  # the largest value of FLOAT8E4M3FN
_FP8_OUTER: Final = 0.9  # of it: where the largest weight or activation comes to lie
_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the eight bits are used.

    activations: 'uint8' with a zero point (what CPUs multiply fastest) or 'int8' without (what TensorRT wants); of
    int8 only. weight_bits: 8, or 7: without VNNI a CPU adds two products in 16 bits, which saturate when weights use
    all eight. by_kernel: weights are rounded by `rounding`, not each for itself; of int8 only. clip: ranges of the
    least squared error instead of the least and largest value. correct_bias: the mean error that rounded weights cause
    goes into the bias. move_constants, equalise: see the modules of these names; the first changes what the network
    computes a little, which u2netp gains back many times over. pixels: see the module of this name; of int8 only.
    light: share of the multiplications, 0..1, that may stay in float32 because it is not worth the error; see there.
    """

    to: Eight = "int8"
    activations: Literal["uint8", "int8"] = "uint8"
    weight_bits: int = 7
    by_kernel: bool = True
    clip: bool = True
    correct_bias: bool = True
    move_constants: bool = True
    equalise: bool = True
    pixels: bool = True
    light: float = 0.03


@dataclass(frozen=True, slots=True)
class Plan:
    """Which tensors are in eight bits. layers: those that are. made: for all who read them: what these layers put out
    or read, and what pooling, resizing and joining makes of it. read: for these layers only, inputs of the network."""

    layers: tuple[Layer, ...]
    made: frozenset[str]
    read: frozenset[str]

    @property
    def tensors(self) -> tuple[str, ...]:
        """All that need a range, sorted."""
        return tuple(sorted(self.made | self.read))


def plan_of(graph: Graph, kept: Collection[str]) -> Plan:
    """Everything in eight bits but the layers with these names.

    What a kept layer puts out is in eight bits where one of the others reads it, and then for all: if a sum or a
    joining read it in float32, that, its pooling and all that joins it would be float32, too. u2netp with its first
    layer kept spent a twelfth of its time so.
    """
    layers = tuple(layer for layer in graph.layers if layer.name not in kept)
    made = {layer.output for layer in layers}
    for layer in layers:
        made |= graph.behind(layer.input)
    made.discard(graph.input)
    for node in graph.nodes:
        handed_on = graph.passes(node)
        if handed_on is not None and all(name in made for name in handed_on):
            made.add(node.output[0])
    made -= set(graph.outputs)
    return Plan(layers, frozenset(made), frozenset({layer.input for layer in layers} - made))


def quantised(graph: Graph, seen: Activations, recipe: Recipe, kept: Collection[str] = ()) -> Graph:
    """The network with Q/DQ; the layers `kept` are left in float32. seen: all tensors of `plan_of(graph, kept)`."""
    plan = plan_of(graph, kept)
    writer = _Writer(graph, seen, recipe, plan)
    return writer.write()


class _Writer:
    def __init__(self, graph: Graph, seen: Activations, recipe: Recipe, plan: Plan) -> None:
        self._onnx = require_onnx()
        self._graph, self._seen, self._recipe, self._plan = graph, seen, recipe, plan
        self._added: list[Any] = []
        self._scales: dict[str, tuple[np.float32, int]] = {}

    def write(self) -> Graph:
        helper = self._onnx.helper
        layers = {layer.raw: layer for layer in self._plan.layers}
        quantised_names = self._plan.made | self._plan.read
        nodes = []
        for tensor in sorted(quantised_names):
            if tensor not in self._graph.maker:  # an input of the network
                nodes += self._pair(tensor)
        for node in self._graph.nodes:
            copy = type(node)()
            copy.CopyFrom(node)
            layer = layers.get(node.output[0]) if node.op_type == "Conv" else None
            for at, name in enumerate(node.input):
                if name in self._plan.made or (layer is not None and at == 0):
                    copy.input[at] = f"{name}_dequantized"
            if layer is not None:
                nodes += self._weights(layer, copy)
            nodes.append(copy)
            for made in node.output:
                if made in quantised_names:
                    nodes += self._pair(made)
        model = type(self._graph.model)()
        model.CopyFrom(self._graph.model)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(self._added)
        drop_unused(model)
        helper.set_model_props(model, {PRECISION_KEY: self._recipe.to})
        return Graph(model)

    def _pair(self, tensor: str) -> list[Any]:
        scale, zero = self._scale(tensor)
        names = [f"{tensor}_scale", f"{tensor}_zero"]
        self._add(names[0], scale)
        self._zero(names[1], self._recipe.activations, zero)
        make = self._onnx.helper.make_node
        return [
            make("QuantizeLinear", [tensor, *names], [f"{tensor}_quantized"], name=f"{tensor}_quantize"),
            make(
                "DequantizeLinear",
                [f"{tensor}_quantized", *names],
                [f"{tensor}_dequantized"],
                name=f"{tensor}_dequantize",
            ),
        ]

    def _scale(self, tensor: str) -> tuple[np.float32, int]:
        """(step, zero point) of an activation."""
        if tensor in self._scales:
            return self._scales[tensor]
        source = self._graph.same_range(tensor)
        if source is not None and source in self._plan.made:
            found = self._scale(source)
        else:
            found = activation_scale(self._seen, tensor, self._recipe)
        self._scales[tensor] = found
        return found

    def _weights(self, layer: Layer, node: Any) -> list[Any]:
        """Make a convolution read its weights, and for integers its bias, through DequantizeLinear."""
        make = self._onnx.helper.make_node
        weight = self._graph.values[layer.weight]
        steps, rounded = rounded_weights(weight, self._recipe)
        error = (rounded - weight).sum(axis=(2, 3)) if self._recipe.correct_bias else None
        name = f"{layer.name}_weight"  # by layer: two layers may read the same initialiser
        self._add(f"{name}_scale", steps)
        if self._recipe.to == "fp8":
            self._fp8(f"{name}_quantized", rounded / steps[:, None, None, None])
        else:
            self._add(f"{name}_quantized", np.rint(rounded / steps[:, None, None, None]).astype(np.int8))
        self._zero(f"{name}_zero", "int8", 0, len(steps))
        node.input[1] = f"{name}_dequantized"
        parts = [f"{name}_{part}" for part in ("quantized", "scale", "zero")]
        nodes = [make("DequantizeLinear", parts, [node.input[1]], name=f"{name}_dequantize", axis=0)]
        bias = self._graph.values[layer.bias].astype(np.float64) if layer.bias else np.zeros(len(weight))
        if error is not None and layer.input in self._seen:
            mean = self._seen[layer.input].mean
            if len(mean) == error.shape[1]:  # not a grouped convolution
                bias = bias - error @ mean
        while len(node.input) < 3:
            node.input.append("")
        node.input[2] = f"{layer.name}_bias"
        if self._recipe.to == "fp8" or self._recipe.activations == "int8":
            self._add(node.input[2], bias.astype(np.float32))  # TensorRT wants it in float
            return nodes
        step = self._scale(layer.input)[0] * steps
        name = node.input[2]
        self._add(f"{name}_quantized", np.clip(np.rint(bias / step), -_INT32, _INT32).astype(np.int32))
        self._add(f"{name}_scale", step.astype(np.float32))
        self._add(f"{name}_zero", np.zeros(len(step), np.int32))
        parts = [f"{name}_{part}" for part in ("quantized", "scale", "zero")]
        node.input[2] = f"{name}_dequantized"
        return [*nodes, make("DequantizeLinear", parts, [node.input[2]], name=f"{name}_dequantize", axis=0)]

    def _add(self, name: str, values: npt.NDArray[Any] | np.float32) -> None:
        self._added.append(self._onnx.numpy_helper.from_array(np.asarray(values), name))

    def _zero(self, name: str, kind: str, zero: int, count: int | None = None) -> None:
        if self._recipe.to == "fp8":
            self._fp8(name, np.zeros(() if count is None else count, np.float32))
        else:
            self._add(name, np.full(() if count is None else count, zero, np.dtype(kind)))

    def _fp8(self, name: str, values: npt.NDArray[np.floating[Any]]) -> None:
        codes = _as_fp8(values)
        tensor = self._onnx.TensorProto(
            name=name, data_type=self._onnx.TensorProto.FLOAT8E4M3FN, dims=codes.shape, raw_data=codes.tobytes()
        )
        self._added.append(tensor)


def activation_scale(seen: Activations, tensor: str, recipe: Recipe) -> tuple[np.float32, int]:
    """(step, zero point) of an activation by what was seen of it."""
    low, high = seen[tensor].range
    if recipe.to == "fp8":
        return np.float32(max(-low, high, 1e-6) / (_FP8_TOP * _FP8_OUTER)), 0
    if recipe.clip:
        low, high = clip_range(seen[tensor], 255)
    low, high = min(low, 0.0), max(high, 1e-6)  # zero, with which frames are padded, must be one of the steps
    if recipe.activations == "int8":
        return np.float32(max(-low, high) / 127), 0
    step = np.float32((high - low) / 255)
    return step, int(np.clip(np.rint(-low / step), 0, 255))


def rounded_weights(weight: npt.NDArray[np.float32], recipe: Recipe) -> tuple[npt.NDArray[np.float32], Any]:
    """(steps float32 (o,), the rounded weights float32 (o, i, h, w)): symmetric, a step for each output channel."""
    top = np.maximum(np.abs(weight).reshape(len(weight), -1).max(axis=1), 1e-9)
    if recipe.to == "fp8":
        steps = (top / (_FP8_TOP * _FP8_OUTER)).astype(np.float32)
        wide = steps[:, None, None, None]
        return steps, _from_fp8(_as_fp8(weight / wide)) * wide
    most = (1 << (recipe.weight_bits - 1)) - 1
    steps = (top / most).astype(np.float32)
    wide = steps[:, None, None, None]
    codes = rounded_by_kernel(weight / wide) if recipe.by_kernel else np.rint(weight / wide)
    return steps, np.clip(codes, -most, most).astype(np.float32) * wide


def operators(graph: Graph) -> Mapping[str, int]:
    """How many nodes of each kind."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def float_layers(graph: Graph) -> tuple[str, ...]:
    """Names of the convolutions whose weights are not behind a DequantizeLinear."""
    return tuple(
        node_name(node)
        for node in graph.nodes
        if node.op_type == "Conv"
        and (node.input[1] not in graph.maker or graph.maker[node.input[1]].op_type != "DequantizeLinear")
    )


def _as_fp8(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    import ml_dtypes  # onnx needs it

    return np.asarray(values, np.float32).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def _from_fp8(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    import ml_dtypes

    return np.asarray(codes.view(ml_dtypes.float8_e4m3fn), np.float32)
