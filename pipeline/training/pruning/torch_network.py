"""An ONNX network as a torch module whose parameters are the file's weights, and back.

Small on purpose: the operators that `channels` knows, run node by node, so that what was learnt goes back into the same
file, with the same names, shapes and outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.training.pruning.onnx_file import attributes, called, weights_of, with_weights


class OnnxNetwork(nn.Module):
    """A network as `read_onnx` gives it.

    Its float32 initialisers are parameters; means and variances of batch normalisation stay as they are.
    Raises ModelError at the first pass for what it cannot run.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model
        self.nodes = [(node, attributes(node)) for node in model.graph.node]
        self.outputs = tuple(out.name for out in model.graph.output)
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        frozen = {name for node, _ in self.nodes if node.op_type == "BatchNormalization" for name in node.input[3:5]}
        # Numbered: names of parameters must not have dots.
        self._names: list[str] = []
        self.weights = nn.ParameterList()
        for name, values in weights_of(model).items():
            if values.dtype == np.float32 and values.ndim >= 1:
                self._names.append(name)
                self.weights.append(nn.Parameter(torch.tensor(values), requires_grad=name not in frozen))
            else:
                self.constants[name] = values
        self._number = {name: i for i, name in enumerate(self._names)}
        self.last_use = {name: i for i, (node, _) in enumerate(self.nodes) for name in node.input}

    def parameter(self, name: str) -> nn.Parameter:
        """The parameter of an initialiser. Raises KeyError for one that is not there."""
        return self.weights[self._number[name]]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the file's order. pixels: float32 (n, c, h, w) of any size that the network takes."""
        passing = Passing(self, pixels)
        for number in range(len(self.nodes)):
            passing.run(number)
        return passing.outputs()

    def has(self, name: str) -> bool:
        """Whether an initialiser of that name is a parameter."""
        return name in self._number

    def to_onnx(self) -> onnx.ModelProto:
        """The file with the parameters as they are now."""
        return with_weights(
            self.model,
            {name: value.detach().cpu().numpy().copy() for name, value in zip(self._names, self.weights, strict=True)},
        )


class Passing:
    """One pass, node by node: numbers are those of `OnnxNetwork.nodes`, each to be run once and in their order."""

    def __init__(self, network: OnnxNetwork, pixels: Tensor) -> None:
        self._network = network
        self._values: dict[str, Any] = {network.model.graph.input[0].name: pixels, **network.constants}

    def given(self, number: int) -> list[Any]:
        """What the node is about to read: tensors, NumPy arrays of numbers, None for an input that is left out."""
        network, values = self._network, self._values
        return [
            network.parameter(name) if network.has(name) else values[name] if name else None
            for name in network.nodes[number][0].input
        ]

    def run(self, number: int) -> Any:
        """Run the node; what nothing else reads is let go of. Raises ModelError when it cannot be run."""
        node, options = self._network.nodes[number]
        run = _OPERATORS.get(node.op_type)
        if run is None:
            raise ModelError(f"{called(node)}: torch is not told how to run this operator")
        try:
            out = run(self.given(number), options)
        except (_Unknown, KeyError, ValueError, RuntimeError) as error:
            raise ModelError(f"{called(node)}: cannot be run in torch ({str(error).splitlines()[0]})") from error
        self._values[node.output[0]] = out
        for name in node.input:
            if self._network.last_use[name] == number and name not in self._network.outputs:
                self._values.pop(name, None)
        return out

    def outputs(self) -> tuple[Tensor, ...]:
        """When all nodes have run."""
        return tuple(self._values[name] for name in self._network.outputs)


class _Unknown(Exception):
    """An operator is used in a way that is not known."""


def _convolve(given: list[Any], options: dict[str, Any]) -> Tensor:
    if options.get("auto_pad", "NOTSET") != "NOTSET":
        raise _Unknown(f"auto_pad {options['auto_pad']}")
    pixels, padding = padded(given[0], options.get("pads", [0, 0, 0, 0]), 0.0)
    bias = given[2] if len(given) > 2 else None
    return functional.conv2d(
        pixels,
        given[1],
        bias,
        stride=options.get("strides", 1),
        padding=padding,
        dilation=options.get("dilations", 1),
        groups=options.get("group", 1),
    )


def padded(pixels: Tensor, pads: list[int], value: float) -> tuple[Tensor, tuple[int, int]]:
    """(pixels, padding that is left to the operator): torch's operators pad both sides alike."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return pixels, (top, left)
    return functional.pad(pixels, (left, right, top, bottom), value=value), (0, 0)


def _max_pool(given: list[Any], options: dict[str, Any]) -> Tensor:
    pixels, padding = padded(given[0], options.get("pads", [0, 0, 0, 0]), -torch.inf)
    return functional.max_pool2d(
        pixels,
        options["kernel_shape"],
        options.get("strides", 1),
        padding,
        options.get("dilations", 1),
        bool(options.get("ceil_mode", 0)),
    )


def _average_pool(given: list[Any], options: dict[str, Any]) -> Tensor:
    top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right) or any(step != 1 for step in options.get("dilations", [1])):
        raise _Unknown("padding that differs between sides, or dilation")
    return functional.avg_pool2d(
        given[0],
        options["kernel_shape"],
        options.get("strides", 1),
        (top, left),
        bool(options.get("ceil_mode", 0)),
        bool(options.get("count_include_pad", 0)),
    )


def _resize(given: list[Any], options: dict[str, Any]) -> Tensor:
    pixels = given[0]
    if len(given) > 3 and given[3] is not None:
        size = [int(one) for one in given[3][-2:]]
    else:
        scales = given[2] if len(given) > 2 else given[1]
        size = [
            int(np.floor(side * scale)) for side, scale in zip(pixels.shape[-2:], _numbers(scales)[-2:], strict=True)
        ]
    mode, where = options.get("mode", "nearest"), options.get("coordinate_transformation_mode", "half_pixel")
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return functional.interpolate(pixels, size, mode="bilinear", align_corners=where == "align_corners")
    if mode == "nearest" and where == "asymmetric" and options.get("nearest_mode") == "floor":
        return functional.interpolate(pixels, size, mode="nearest")
    raise _Unknown(f"mode {mode}, {where}")


def _batch_norm(given: list[Any], options: dict[str, Any]) -> Tensor:
    pixels, scale, offset, mean, variance = given
    return functional.batch_norm(pixels, mean, variance, scale, offset, False, 0.0, options.get("epsilon", 1e-5))


def _clip(given: list[Any], options: dict[str, Any]) -> Tensor:
    low, high = (
        float(given[i]) if len(given) > i and given[i] is not None else options.get(name)
        for i, name in ((1, "min"), (2, "max"))
    )
    return torch.clamp(given[0], low, high)


def _elementwise(both: Callable[[Any, Any], Any]) -> Callable[[list[Any], dict[str, Any]], Any]:
    def run(given: list[Any], options: dict[str, Any]) -> Any:
        a, b = given
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            device = a.device if isinstance(a, Tensor) else b.device
            a, b = (one if isinstance(one, Tensor) else torch.as_tensor(one, device=device) for one in (a, b))
        return both(a, b)

    return run


def _numbers(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _divide(a: Any, b: Any) -> Any:
    whole = isinstance(a, np.ndarray) and np.issubdtype(a.dtype, np.integer)
    return a // b if whole else a / b


def _concat(given: list[Any], options: dict[str, Any]) -> Any:
    if isinstance(given[0], np.ndarray):
        return np.concatenate([np.atleast_1d(one) for one in given], options["axis"])
    return torch.cat(given, options["axis"])


def _slice(given: list[Any], options: dict[str, Any]) -> Any:
    values, starts, ends, *rest = given
    if len(starts) != 1 or (len(rest) > 1 and int(rest[1][0]) != 1):
        raise _Unknown("several axes, or steps")
    axis = int(rest[0][0]) if rest else 0
    return np.take(values, range(*slice(int(starts[0]), int(ends[0])).indices(values.shape[axis])), axis)


def _axes(given: list[Any], options: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in (given[1] if len(given) > 1 else options["axes"]))


_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Conv": _convolve,
    "Relu": lambda given, _: functional.relu(given[0]),
    "LeakyRelu": lambda given, options: functional.leaky_relu(given[0], options.get("alpha", 0.01)),
    "Sigmoid": lambda given, _: torch.sigmoid(given[0]),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda given, _: given[0].mean((2, 3), keepdim=True),
    "Resize": _resize,
    "Identity": lambda given, _: given[0],
    "Clip": _clip,
    "BatchNormalization": _batch_norm,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
    "Concat": _concat,
    # What follows computes numbers of shapes, in NumPy.
    "Constant": lambda _, options: np.asarray(next(iter(options.values()))),
    "Shape": lambda given, _: np.array(given[0].shape, np.int64),
    "Gather": lambda given, options: np.take(given[0], given[1], options.get("axis", 0)),
    "Unsqueeze": lambda given, options: np.expand_dims(given[0], _axes(given, options)),
    "Squeeze": lambda given, options: np.squeeze(given[0], _axes(given, options)),
    "Slice": _slice,
    "Cast": lambda given, options: np.asarray(given[0]).astype(onnx.helper.tensor_dtype_to_np_dtype(options["to"])),
    "Floor": lambda given, _: np.floor(given[0]),
}
