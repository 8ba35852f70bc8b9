"""A generator that makes images larger, and networks that look at what it makes without skipping pixels (Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import CONV, ResizeConv
from .mlp import initialise
from .translators import checked

INTERPOLATION = {1: "linear", 2: "bicubic", 3: "trilinear"}

MEAN_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class SuperResolver(nn.Module):
    """Images y (n, channels, *size) -> (n, channels, *factor size): their interpolation plus a learned difference.

    As in Ledig et al. (2017), ``blocks`` residual blocks work at the low resolution and only then is the size doubled,
    once for each 2 in ``factor``, here by resize-convolutions. Three things differ: there is no batch norm, which takes
    an image's own contrast away and that later work left out (Lim et al. 2017); the network adds to the bicubic
    interpolation (linear in 1-D and 3-D) and its last weights start at 0, so that it starts as an interpolation; and as
    that may leave [-1, 1] there is no tanh: clamp what is shown. ValueError for a factor that is no power of 2.
    """

    per_sample = True
    multiple = 1

    def __init__(self, channels: int = 1, *, factor: int = 2, width: int = 32, blocks: int = 4, dims: int = 2) -> None:
        super().__init__()
        if factor < 2 or factor & (factor - 1):
            raise ValueError(f"factor must be 2, 4, 8, ..., it is {factor}")
        self.inputs, self.factor, self.mode = channels, factor, INTERPOLATION[dims]
        conv = CONV[dims]
        self.first = nn.Sequential(conv(channels, width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                conv(width, width, 3, padding=1),
                nn.LeakyReLU(0.2, inplace=True),
                conv(width, width, 3, padding=1),
            )
            for _ in range(blocks)
        )
        stages = [
            (ResizeConv(dims, width, width), nn.LeakyReLU(0.2, inplace=True)) for _ in range(factor.bit_length() - 1)
        ]
        self.up = nn.Sequential(*(layer for stage in stages for layer in stage))
        self.last = conv(width, channels, 3, padding=1)
        initialise(self)
        for block in self.blocks:
            with torch.no_grad():
                block[-1].weight.mul_(0.1)  # a sum of many blocks would otherwise start large
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, y: Tensor) -> Tensor:
        features = self.first(checked(y, self))
        for block in self.blocks:
            features = features + block(features)
        base = F.interpolate(y, scale_factor=float(self.factor), mode=self.mode, align_corners=False)
        return base + self.last(self.up(features))


class SmoothCritic(nn.Module):
    """Images x (n, channels, *size) -> one logit a patch (n, *patches); no pixel counts more because of its place.

    A convolution of stride 2 skips: its gradient falls on even and on odd pixels differently, and a generator that
    follows it may draw a mesh. Here each of the ``stages`` is two 3-wide convolutions at every pixel, and what follows
    is halved by the mean of 2 pixels along each axis. With one convolution a pattern of few pixels is gone before it is
    seen. ValueError for images smaller than 4 * 2^stages.
    """

    per_sample = True

    def __init__(self, channels: int = 1, *, width: int = 16, stages: int = 2, dims: int = 2) -> None:
        super().__init__()
        self.least, after = 4 << stages, width << stages
        self.layers = nn.Sequential(
            *smooth_stages(channels, width, stages, dims),
            CONV[dims](after // 2, after, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            CONV[dims](after, 1, 3, padding=1),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.least:
            raise ValueError(f"images of {tuple(x.shape[2:])} pixels, patches need {self.least} along each axis")
        return self.layers(x).squeeze(1)


class SmoothReader(nn.Module):
    """Images (n, channels, *size) -> logits of which way up they are (n, turns) and of their faults (n, faults).

    Like VGG (Simonyan and Zisserman 2015): two 3-wide convolutions at every resolution, three resolutions, and between
    them a mean over 2 pixels along each axis, as in `SmoothCritic`, in place of the maximum. What a content loss
    compares is what `Looks` takes from its first two resolutions.
    """

    def __init__(self, channels: int, turns: int, faults: int, *, width: int = 16, dims: int = 2) -> None:
        super().__init__()
        layers = smooth_stages(channels, width, 3, dims)
        third = len(layers) // 3
        self.stages = nn.ModuleList(nn.Sequential(*layers[k : k + third]) for k in range(0, len(layers), third))
        self.turn, self.fault = nn.Linear(4 * width, turns), nn.Linear(4 * width, faults)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for stage in self.stages:
            x = stage(x)
        h = x.flatten(2).mean(2)
        return self.turn(h), self.fault(h)


class Looks(nn.Module):
    """Images (n, channels, *size) -> what a `SmoothReader` sees after two convolutions at each of two resolutions.

    The coarser ones are repeated to the size of the image: (n, 3 width, *size). A mean over 2 pixels is blind to a
    pattern of period 2, and maps of the full resolution are not.
    """

    def __init__(self, reader: SmoothReader) -> None:
        super().__init__()
        first, second = reader.stages[:2]
        self.fine, self.pool, self.coarse = first[:-1], first[-1], second[:-1]

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.coarse(self.pool(fine))
        return torch.cat([fine, F.interpolate(coarse, size=x.shape[2:], mode="nearest")], 1)


def smooth_stages(channels: int, width: int, stages: int, dims: int) -> list[nn.Module]:
    """``stages`` times: two 3-wide convolutions, each with LeakyReLU(0.2), and a mean over 2 pixels an axis."""
    layers: list[nn.Module] = []
    before = channels
    for stage in range(stages):
        for _ in range(2):
            layers += [CONV[dims](before, width << stage, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
            before = width << stage
        layers.append(MEAN_POOL[dims](2))
    return layers
