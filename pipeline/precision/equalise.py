"""Cross-layer equalisation: channels of one tensor brought to ranges that suit one step size.

relu(s z) = s relu(z) for s > 0, so a channel can be scaled in the layer that makes it and scaled back in those that
read it, and the network computes the same. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias
Correction, ICCV 2019; the scale is that of Xiao et al., SmoothQuant, ICML 2023, with alpha 1/2: after it a channel's
largest activation and the largest weight that reads it are the same. The maker's own weights have a step for each
channel, so they pay nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.precision.calibration import Activations
from mattemill.pipeline.precision.constant_channels import shared_values
from mattemill.pipeline.precision.graph import Graph

_MOST: Final = 64.0  # times up or down: a channel that was dead on all calibration photographs may not be so on others


def equalise(graph: Graph, seen: Activations) -> Graph:
    """The same network with equalised channels.

    seen: the outputs of the layers. Only outputs of a ReLU that nothing but layers read (through pooling, resizing,
    joining) are scaled; readers whose channels are in groups are left alone.
    """
    values: dict[str, npt.NDArray[np.float64]] = {}
    shared = shared_values(graph)

    def of(name: str) -> npt.NDArray[np.float64]:
        return values.setdefault(name, graph.values[name].astype(np.float64))

    for layer in graph.layers:
        readers = graph.readers(layer.output) if layer.rectified and layer.output in seen else None
        names = {layer.weight, layer.bias or ""} | {reader.weight for reader, _ in readers or ()}
        if not readers or names & shared:
            continue
        high = seen[layer.output].high.astype(np.float64)
        count = len(high)
        if any(graph.channels(reader.input) != of(reader.weight).shape[1] for reader, _ in readers):
            continue
        columns = [np.abs(of(reader.weight)[:, at : at + count]).max(axis=(0, 2, 3)) for reader, at in readers]
        weight = np.max(columns, axis=0)
        alive = (high > 0) & (weight > 0)
        scale = np.ones(count)
        scale[alive] = np.clip(np.sqrt(weight[alive] / high[alive]), 1 / _MOST, _MOST)
        of(layer.weight)[:] *= scale[:, None, None, None]
        if layer.bias is not None:
            of(layer.bias)[:] *= scale
        for reader, at in readers:
            of(reader.weight)[:, at : at + count] /= scale[None, :, None, None]
    return graph.changed(values)
