"""A trained matting network as an ONNX file: dynamic batch and size, weights in half precision, opset 18.

The weights are stored as float16 and cast to float32 where they are used (a runtime folds the casts when it loads the
file): half the size, and float32 arithmetic on CPUs, which have no other. Lower precision in the arithmetic is the
engine builder's choice.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.training.network import CHANNELS, MattingNetwork
from mattemill.pipeline.training.train import CHECKPOINT

OPSET = 18
INPUT, OUTPUT = "given", "lines"
_SMALLEST = 256  # values; smaller tensors (biases, shapes) stay as they are


def export_network(folder: Path, target: Path) -> int:
    """Write the averaged weights of the checkpoint in `folder` to `target`; bytes written.

    Input 'given' float32 (n, 7, h, w), output 'lines' float32 (n, 5, h / 2, w / 2); n, h and w dynamic, h and w
    multiples of 32.
    Raises ModelError when there is no checkpoint.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        raise ModelError(f"{path}: there is no checkpoint; train first (`mattemill train matting --folder {folder}`)")
    network = MattingNetwork()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
    data = to_onnx(network)
    partial = target.with_name(f"{target.name}.part")
    partial.write_bytes(data)
    partial.replace(target)
    return len(data)


def to_onnx(network: MattingNetwork) -> bytes:
    """The network as a checked ONNX file."""
    network.eval()
    buffer = io.BytesIO()
    torch.onnx.export(
        _Lines(network).eval(),
        (torch.zeros(2, CHANNELS, 64, 96),),
        buffer,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "n", 2: "h", 3: "w"}, OUTPUT: {0: "n", 2: "h", 3: "w"}},
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    _halve_weights(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Lines(nn.Module):
    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self._network = network

    def forward(self, given: Tensor) -> Tensor:
        return self._network.lines(given)


def _halve_weights(model: onnx.ModelProto) -> None:
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        stored = f"{weight.name}.half"
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT))
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
