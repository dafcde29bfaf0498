"""What the output would lose with each unit, estimated on photographs.

Theis, Korshunova, Tejani, Huszar, Faster gaze prediction with dense networks and Fisher pruning, 2018: the rise of the
loss when a channel is set to zero is about half the mean over examples of the square of (gradient of the loss by the
channel's scale). A network that is compared with itself has no gradient, so the labels are drawn from its own outputs,
pixel by pixel, which makes it Fisher's information; the sums over all that a unit ties together are those of Molchanov,
Mallya, Tyree, Frosio, Kautz, Importance Estimation for Neural Network Pruning, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mattemill.pipeline.training.pruning.channels import Channels
from mattemill.pipeline.training.pruning.torch_network import OnnxNetwork

_DRAWS = 2  # labels a photograph: the second costs a backward pass, and the variance is in the labels


def importance_of(
    network: OnnxNetwork,
    channels: Channels,
    inputs: Iterable[npt.NDArray[np.float32]],
    *,
    logits: bool = False,
    seed: int = 1,
    on_done: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.float64]:
    """float64 (units,), in nats an image and output pixel. inputs: (1, c, h, w) each. logits: so are the outputs.

    on_done: called with the number of inputs done. Raises ModelError.
    """
    generator = torch.Generator().manual_seed(seed)
    total = np.zeros(channels.count)
    done = 0
    for done, pixels in enumerate(inputs, 1):
        outputs = network(torch.from_numpy(pixels))
        for draw in range(_DRAWS):
            network.zero_grad(set_to_none=True)
            loss = sum((_surprise(out, logits, generator) for out in outputs), torch.zeros(()))
            loss.backward(retain_graph=draw + 1 < _DRAWS)
            total += _by_unit(network, channels) ** 2
        on_done(done)
    network.zero_grad(set_to_none=True)
    return np.asarray(total / (2 * _DRAWS * max(1, done)))


def _surprise(output: Tensor, logits: bool, generator: torch.Generator) -> Tensor:
    """Of labels that the output itself gives out; a sum over pixels, scaled so that its square is a mean."""
    chance = torch.sigmoid(output) if logits else output.clamp(1e-6, 1 - 1e-6)
    labels = (torch.rand(chance.shape, generator=generator) < chance.detach()).to(chance.dtype)
    each = functional.binary_cross_entropy(chance, labels, reduction="sum")
    return each / float(np.sqrt(chance.numel()))


def _by_unit(network: OnnxNetwork, channels: Channels) -> npt.NDArray[np.float64]:
    """The gradient by a factor before each unit: the sum of weight times gradient over what makes it."""
    found = np.zeros(channels.count)
    for each in channels.convolutions:
        weight = network.parameter(each.weight)
        if weight.grad is None:
            continue
        rows = (weight * weight.grad).flatten(1).sum(1)
        if each.bias is not None:
            bias = network.parameter(each.bias)
            rows = rows + bias * bias.grad
        # A depthwise filter passes its unit on: the factor before it is counted where the unit is made.
        if not each.depthwise:
            np.add.at(found, each.outs, rows.detach().double().numpy())
    return found
