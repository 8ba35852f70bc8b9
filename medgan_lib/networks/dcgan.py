"""Generator and discriminator of Radford et al. 2016, made of pieces each of which can be exchanged.

The three rules of review Sec. 2.4, and what takes a rule's place when it is removed:

1. strided convolutions: `strided_up` and `strided_down`; without: `pooled_up` and `pooled_down`.
2. no fully connected hidden layer: ``hidden=0``; without: ``hidden`` units between noise and the first map, and between
   the last map and the logit.
3. batch normalisation: ``norm=nn.BatchNorm2d``; without: ``norm=nn.Identity``.

Weights start by He's rule, whose scale fits every layer, and not at the paper's fixed 0.02: networks without batch
normalisation would be judged by a start that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .images import is_channels_last, matching
from .mlp import initialise

BASE = 4  # pixels along the edge of the coarsest map

Piece = Callable[[int, int], nn.Module]


def strided_up(inputs: int, outputs: int) -> nn.Module:
    """Rule 1: a transposed convolution with stride 2, (n, inputs, s, s) -> (n, outputs, 2 s, 2 s)."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def strided_down(inputs: int, outputs: int) -> nn.Module:
    """Rule 1: a convolution with stride 2, (n, inputs, 2 s, 2 s) -> (n, outputs, s, s)."""
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def pooled_up(inputs: int, outputs: int) -> nn.Module:
    """Rule 1 removed: every pixel is repeated, then comes a convolution with stride 1."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))


def pooled_down(inputs: int, outputs: int) -> nn.Module:
    """Rule 1 removed: a convolution with stride 1, then the largest of 2 x 2 values."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.MaxPool2d(2))


class DCGenerator(nn.Module):
    """Noise z (n, latent) -> images (n, *shape) in [-1, 1]; shape is (channels, s, s) with s = 8, 16, 32, ...

    A projection of z is a map of 4 x 4 pixels; each stage ``up`` doubles it, followed by ``norm`` and ReLU, the last by
    tanh. The last map before the image has ``width`` channels, those before it twice as many each, but never more
    than ``most``. Raises ValueError for another shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int = 100,
        width: int = 128,
        *,
        most: int = 1024,
        up: Piece = strided_up,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.latent = square(shape), latent
        widths = channels(self.shape[1], width, most)[::-1]
        dense = [nn.Linear(latent, hidden), nn.ReLU(inplace=True)] if hidden else []
        self.project = nn.Sequential(*dense, nn.Linear(hidden or latent, widths[0] * BASE**2, bias=False))
        self.start = nn.Sequential(nn.Unflatten(1, (widths[0], BASE, BASE)), norm(widths[0]), nn.ReLU(inplace=True))
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [up(before, after), norm(after), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*stages, up(widths[-1], self.shape[0]), nn.Tanh())
        start_weights(self)

    def forward(self, z: Tensor) -> Tensor:
        x = self.start(self.project(z))
        if any(is_channels_last(p) for p in self.stages.parameters()):  # maps take the layout of the weights
            x = x.contiguous(memory_format=torch.channels_last)
        return self.stages(x)


class DCCritic(nn.Module):
    """Images (n, *shape) -> logits (n,): the mirror of `DCGenerator`, with LeakyReLU(0.2).

    There is no ``norm`` at the first stage, which sees the image. With batch normalisation the logit of a sample
    depends on the others of its batch, so real and generated samples have to pass in batches of their own.
    Raises ValueError for an unsupported shape, and for images of another shape than it was made for.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 128,
        *,
        most: int = 1024,
        down: Piece = strided_down,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.per_sample = square(shape), norm is nn.Identity
        widths = channels(self.shape[1], width, most)
        stages: list[nn.Module] = [down(self.shape[0], widths[0]), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in pairwise(widths):
            stages += [down(before, after), norm(after), nn.LeakyReLU(0.2, inplace=True)]
        self.stages = nn.Sequential(*stages, nn.Flatten())
        flat = widths[-1] * BASE**2
        dense = [nn.Linear(flat, hidden), nn.LeakyReLU(0.2, inplace=True)] if hidden else []
        self.judge = nn.Sequential(*dense, nn.Linear(hidden or flat, 1))
        start_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.stages(matching(x, self.shape))).squeeze(1)


def channels(size: int, width: int, most: int) -> list[int]:
    """Channels of the maps of size/2, size/4, ..., 4 pixels: doubling from ``width``, up to ``most``."""
    stages = (size // BASE).bit_length() - 1
    return [min(width << stage, most) for stage in range(stages)]


def square(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] < 1 or shape[1] != shape[2] or shape[1] < 2 * BASE or shape[1] & (shape[1] - 1):
        raise ValueError(
            f"shape {tuple(shape)} is not supported: it must be (channels, size, size) with a power of two "
            f"from {2 * BASE} pixels upwards; crop, pad or resample"
        )
    return tuple(shape)


def start_weights(module: nn.Module) -> None:
    """He's rule, also for transposed convolutions, in whose outputs only a quarter of a 4 x 4 kernel meets."""
    initialise(module)
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            met = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] / layer.stride[0] / layer.stride[1]
            nn.init.normal_(layer.weight, std=(2 / met) ** 0.5)
