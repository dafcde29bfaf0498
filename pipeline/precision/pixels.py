"""A network that reads pixels in 0..1 where it read normalised ones, so that eight bits hold its input exactly.

What a saliency network reads is (p / 255 - mean) / std of whole numbers p. One step size for all three channels of
that is about as coarse as p itself and lies elsewhere, which is a second rounding; u2netp suffers more from it than
from the rounded weights of its first layer. Here the normalisation is undone in front of the first layer, whose weights
and bias then hold it: the same numbers in float32, and no rounding error in the input where the brightest pixel is 255.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mattemill.pipeline.precision.graph import Graph, require_onnx

_NAMES = ("padded", "scaled", "pixels")


def reading_pixels(graph: Graph, mean: Sequence[float], std: Sequence[float]) -> Graph:
    """The same network, its first layer reading x * std + mean; mean, std: of the card, by channel.

    The frame is padded before that, as zeros are the mean and not black. A network of which not just one layer with
    weights and a bias of its own reads the input, or with padding that is not written out, is left as it is.
    """
    layers = [layer for layer in graph.layers if layer.input == graph.input]
    if len(layers) != 1 or len(graph.users[graph.input]) != 1:
        return graph
    layer = layers[0]
    pads = [list(each.ints) for each in graph.maker[layer.raw].attribute if each.name == "pads"]
    weight = graph.values[layer.weight].astype(np.float64)
    alone = layer.bias is not None and all(len(graph.users[name]) == 1 for name in (layer.weight, layer.bias))
    if not pads or not alone or layer.bias is None or weight.shape[1] != len(mean):
        return graph
    shift, scale = (np.asarray(each, np.float64)[:, None, None] for each in (mean, std))
    weight = weight / scale
    bias = graph.values[layer.bias].astype(np.float64) - (weight * shift).sum(axis=(1, 2, 3))
    graph = graph.changed({layer.weight: weight, layer.bias: bias})
    onnx, model = require_onnx(), graph.model
    padded, scaled, pixels = (f"{graph.input}_{name}" for name in _NAMES)
    top, left, bottom, right = pads[0]
    constants = {
        f"{padded}_pads": np.array([0, 0, top, left, 0, 0, bottom, right], np.int64),
        f"{scaled}_std": scale.astype(np.float32)[None],
        f"{pixels}_mean": shift.astype(np.float32)[None],
    }
    make = onnx.helper.make_node
    nodes = [
        make("Pad", [graph.input, f"{padded}_pads"], [padded], name=padded),
        make("Mul", [padded, f"{scaled}_std"], [scaled], name=scaled),
        make("Add", [scaled, f"{pixels}_mean"], [pixels], name=pixels),
    ]
    for node in model.graph.node:
        if node.output[0] == layer.raw:
            node.input[0] = pixels
            for each in node.attribute:
                if each.name == "pads":
                    each.ints[:] = [0] * len(each.ints)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    return Graph(model)
