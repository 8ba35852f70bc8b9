"""Small convolutional generators, critics and encoders, one class each for 1-D, 2-D and 3-D samples.

A ``shape`` is (channels, *spatial); every spatial size is a multiple of 8, because three stages halve or double it.
Images are in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mlp import initialise

STAGES = 3
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ResizeConv(nn.Module):
    """Nearest-neighbour up-sampling by 2 followed by a 3-wide convolution (Odena et al. 2016), in one pass.

    Repeating every pixel and then convolving is the same linear map as a transposed convolution with stride 2 whose
    4-wide kernel is the 3-wide one smoothed by a box of 2. That form needs 4 instead of 9 products an output pixel in
    2-D (8 instead of 27 in 3-D) and never stores the enlarged image. The smoothed kernel covers its stride evenly, so
    there is no checkerboard, which a freely learned 4-wide kernel would have to unlearn.
    (n, inputs, *size) -> (n, outputs, *2 size).
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *[3] * dims))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        spatial = range(2, self.weight.ndim)
        kernel = self.weight.flip(*spatial).transpose(0, 1)  # a transposed convolution runs its kernel backwards
        for axis in spatial:
            size = [0, 0] * (kernel.ndim - axis - 1)
            kernel = F.pad(kernel, [*size, 0, 1]) + F.pad(kernel, [*size, 1, 0])
        if is_channels_last(x):  # the kernel is new each time and has to follow the images' layout
            kernel = kernel.contiguous(memory_format=torch.channels_last)
        return CONV_TRANSPOSE[len(spatial)](x, kernel, stride=2, padding=1)


class Generator(nn.Module):
    """Noise z (n, latent) -> images (n, *shape) in [-1, 1].

    A dense layer makes a map of an eighth of the size with 4 ``width`` channels; three stages of resize-convolution,
    batch norm and ReLU double it, with 2, 1 and 1/2 ``width`` channels, so that every stage costs the same; the last
    convolution and tanh make the image. Raises ValueError for a shape that it cannot make.
    """

    def __init__(self, shape: Sequence[int], latent: int = 64, width: int = 64) -> None:
        super().__init__()
        channels, *size = self.shape = checked_shape(shape)
        dims = len(size)
        widths = [4 * width, 2 * width, width, max(width // 2, 1)]
        self.latent = latent
        start = [s >> STAGES for s in size]
        layers: list[nn.Module] = [
            nn.Linear(latent, widths[0] * math.prod(start), bias=False),
            nn.Unflatten(1, (widths[0], *start)),
            BATCH_NORM[dims](widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in pairwise(widths):
            layers += [ResizeConv(dims, before, after), BATCH_NORM[dims](after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, CONV[dims](widths[-1], channels, 3, padding=1), nn.Tanh())
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        dense, *rest = self.layers
        x = rest[0](dense(z))
        if is_channels_last(self.layers[-2].weight):  # noise has no layout, so the maps take that of the weights
            x = x.contiguous(memory_format=torch.channels_last)
        for layer in rest[1:]:
            x = layer(x)
        return x


class Critic(nn.Module):
    """Images (n, *shape) -> one number a sample (n,): the logit of D, or the value of a critic.

    Three convolutions of stride 2 with LeakyReLU(0.2) and a dense layer. There is no batch norm: it would make the
    output for one sample depend on the others, while Eq. 4 asks for the gradient norm of each sample by itself.
    Raises ValueError for an unsupported shape, and for images of another shape than it was made for.
    """

    per_sample = True

    def __init__(self, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.shape = checked_shape(shape)
        self.layers = nn.Sequential(*downsampling(self.shape, width), nn.Flatten())
        self.dense = nn.Linear(flat_size(self.shape, width), 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.layers(matching(x, self.shape))).squeeze(1)


class Encoder(nn.Module):
    """A small classifier: images (n, *shape) -> logits (n, outputs), with ``features`` (n, 64) before them.

    The features are what Fréchet distances and precision and recall are computed on, after training on images of the
    same domain. Raises ValueError as `Critic` does.
    """

    def __init__(self, shape: Sequence[int], outputs: int, width: int = 32) -> None:
        super().__init__()
        self.shape = checked_shape(shape)
        self.layers = nn.Sequential(
            *downsampling(self.shape, width, norm=True),
            nn.Flatten(),
            nn.Linear(flat_size(self.shape, width), 64),
            nn.LeakyReLU(0.2),
        )
        self.dense = nn.Linear(64, outputs)
        initialise(self)

    def features(self, x: Tensor) -> Tensor:
        return self.layers(matching(x, self.shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.features(x))


def is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def downsampling(shape: tuple[int, ...], width: int, norm: bool = False) -> list[nn.Module]:
    dims, widths = len(shape) - 1, [shape[0], width, 2 * width, 4 * width]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(CONV[dims](before, after, 4, stride=2, padding=1, bias=not norm))
        if norm:
            layers.append(BATCH_NORM[dims](after))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers


def flat_size(shape: tuple[int, ...], width: int) -> int:
    return 4 * width * math.prod(s >> STAGES for s in shape[1:])


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    channels, *size = shape
    if channels < 1 or len(size) not in CONV:
        raise ValueError(f"shape {tuple(shape)} must be (channels, *spatial) with one to three spatial sizes")
    step = 1 << STAGES
    if any(s < step or s % step for s in size):
        padded = tuple(max(-(-s // step), 1) * step for s in size)
        raise ValueError(
            f"spatial size {tuple(size)} is not supported: every size must be a multiple of {step}; "
            f"pad to {padded} with torch.nn.functional.pad, or crop or resample"
        )
    return (channels, *size)


def matching(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"images of shape {tuple(x.shape[1:])} for a network made for {shape}: crop, pad or resample")
    return x
