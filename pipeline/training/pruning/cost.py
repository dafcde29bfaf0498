"""What a network costs: parameters and multiply-adds of its convolutions, before and after units go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mattemill.pipeline.training.pruning.channels import Channels, Convolution
from mattemill.pipeline.training.pruning.slim import Kept
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork, Passing


@dataclass(frozen=True, slots=True)
class Cost:
    """parameters: of convolutions, weights and biases. gmac: 1e9 multiply-adds of the convolutions for one image."""

    parameters: int
    gmac: float

    @property
    def gflop(self) -> float:
        """Two a multiply-add."""
        return 2 * self.gmac


def pixels_of(network: OnnxNetwork, channels: int, size: tuple[int, int]) -> dict[str, int]:
    """Output pixels of each convolution (by its output's name) for an input of (h, w), found by one pass."""
    found: dict[str, int] = {}
    with torch.no_grad():
        passing = Passing(network, torch.zeros(1, channels, *size))
        for number, (node, _) in enumerate(network.nodes):
            output = passing.run(number)
            if node.op_type == "Conv":
                found[node.output[0]] = int(output.shape[2] * output.shape[3])
    return found


def cost_of(channels: Channels, pixels: dict[str, int], kept: Kept | None = None) -> Cost:
    """Of the kept units; None = of all."""
    if kept is None:
        kept = np.ones(channels.count, np.bool_)
    parameters = 0
    macs = 0.0
    for each in channels.convolutions:
        weights = weights_left(each, kept)
        macs += weights * pixels[each.output]
        parameters += weights + (int(kept[each.outs].sum()) if each.bias is not None else 0)
    return Cost(parameters, macs / 1e9)


def weights_left(each: Convolution, kept: npt.NDArray[np.bool_]) -> int:
    """Weights of a convolution between kept units."""
    outs = int(kept[each.outs].sum())
    return outs * each.taps * (1 if each.depthwise else int(kept[each.ins].sum()))
