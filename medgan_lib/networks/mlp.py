"""Fully connected networks, and the initialisation that all networks share."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """``depth`` hidden layers of ``width`` units with LeakyReLU(0.2): (n, inputs) -> (n, outputs).

    As a generator it draws its noise from ``latent = inputs`` dimensions.
    """

    per_sample = True

    def __init__(self, inputs: int, outputs: int, width: int = 128, depth: int = 3) -> None:
        sizes = [inputs] + [width] * depth
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(sizes[-1], outputs))
        self.latent = inputs
        initialise(self)
        for layer in self:
            if isinstance(layer, nn.Linear):  # with few inputs and no bias all kinks would lie at the origin
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.bias, -bound, bound)


def initialise(module: nn.Module) -> None:
    """He initialisation for LeakyReLU(0.2), biases at zero: the signal keeps its size whatever the width."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
