"""The network without the units that go: its weights lose rows and columns, its graph stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.training.pruning.channels import Channels
from mattemill.pipeline.training.pruning.onnx_file import attributes, called, weights_of, with_weights

Kept = npt.NDArray[np.bool_]
"""bool (units,): which units stay."""


def slimmed(model: onnx.ModelProto, channels: Channels, kept: Kept) -> onnx.ModelProto:
    """The network with the kept units only: same inputs, outputs, nodes and names.

    When everything that reads a unit has zero weights for it, taking it out changes no output.
    Raises ValueError when a fixed unit would go or a convolution would be left without channels.
    """
    if (channels.fixed & ~kept).any():
        raise ValueError("a fixed unit cannot be removed")
    weights = weights_of(model)
    new: dict[str, npt.NDArray[Any]] = {}
    for each in channels.convolutions:
        rows, columns = kept[each.outs], kept[each.ins]
        if not rows.any() or not columns.any():
            raise ValueError(f"convolution {each.name} would have no channels")
        weight = weights[each.weight][rows]
        new[each.weight] = weight if each.depthwise else weight[:, columns]
        if each.bias is not None:
            new[each.bias] = weights[each.bias][rows]
    for name, units in channels.vectors:
        new[name] = weights[name][kept[units]]
    out = with_weights(model, new)
    _mend_groups(out, channels, kept)
    _mend_sizes(out, channels, kept)
    return out


def _mend_groups(model: onnx.ModelProto, channels: Channels, kept: Kept) -> None:
    left = {each.output: int(kept[each.outs].sum()) for each in channels.convolutions if each.depthwise}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] in left:
            for attribute in node.attribute:
                if attribute.name == "group":
                    attribute.i = left[node.output[0]]


def _mend_sizes(model: onnx.ModelProto, channels: Channels, kept: Kept) -> None:
    """A Resize may have its output's whole shape written down, channels and all."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and isinstance(value := attributes(node).get("value"), np.ndarray):
            constants[node.output[0]] = value
    for node in model.graph.node:
        if node.op_type != "Resize" or len(node.input) < 4 or node.input[3] not in constants:
            continue
        units = channels.resized[node.output[0]]
        sizes = constants[node.input[3]].copy()
        if len(sizes) != 4 or sizes[1] != len(units):
            raise ModelError(f"{called(node)}: its sizes are {sizes.tolist()}, its channels {len(units)}")
        sizes[1] = int(kept[units].sum())
        # Under a name of its own: the same constant may size another tensor, too.
        own = f"{node.output[0]}.{sizes[1]}"
        if own not in constants:
            model.graph.initializer.append(numpy_helper.from_array(sizes, own))
        node.input[3] = own
