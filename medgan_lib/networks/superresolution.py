"""A generator that makes images larger (review Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import CONV, ResizeConv
from .mlp import initialise
from .translators import checked

INTERPOLATION = {1: "linear", 2: "bicubic", 3: "trilinear"}


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
