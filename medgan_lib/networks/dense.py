"""Fully connected generator and critic of images, as in the first GANs: every pixel has weights of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .images import checked_shape, matching
from .mlp import MLP


class DenseGenerator(nn.Module):
    """Noise z (n, latent) -> images (n, *shape) in [-1, 1], by ``depth`` hidden layers of ``width`` units and tanh.

    With p pixels (times channels) it has (latent + 1) w + (depth - 1) (w + 1) w + (w + 1) p parameters.
    Source: Goodfellow et al. 2014; review Sec. 2.4. Raises ValueError for a shape that it cannot make.
    """

    def __init__(self, shape: Sequence[int], latent: int = 64, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.shape, self.latent = checked_shape(shape), latent
        self.layers = MLP(latent, math.prod(self.shape), width, depth)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.layers(z)).unflatten(1, self.shape)


class DenseCritic(nn.Module):
    """Images (n, *shape) -> one number a sample (n,), by ``depth`` hidden layers of ``width`` units.

    Its parameters are (p + 1) w + (depth - 1) (w + 1) w + w + 1 for p pixels (times channels). Raises ValueError for
    an unsupported shape, and for images of another shape than it was made for.
    """

    per_sample = True

    def __init__(self, shape: Sequence[int], width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.shape = checked_shape(shape)
        self.layers = MLP(math.prod(self.shape), 1, width, depth)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(matching(x, self.shape).flatten(1)).squeeze(1)
