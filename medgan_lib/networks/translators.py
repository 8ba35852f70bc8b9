"""Fully convolutional networks that translate images, and a critic of patches (review Sec. 3.1).

Every one works for 1-D, 2-D and 3-D images of any size that is a multiple of its ``multiple``; pad others. Instance
norm instead of batch norm: what an image becomes does not depend on the images beside it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import CONV, ResizeConv
from .mlp import initialise

INNERMOST = 3  # stages on the way up that can have dropout


class UNet(nn.Module):
    """Images y (n, inputs, *size) -> (n, outputs, *size) in [-1, 1], with skip connections (Ronneberger et al. 2015).

    ``depth`` stages halve the size with convolutions of stride 2 while the channels double from ``width`` to at most
    8 ``width``; resize-convolutions come back, and each stage gets the features of its size from the way down.
    ``dropout`` is the share of values that is dropped, each by itself, after the three innermost stages on the way up
    as in Isola et al. (2017), whose generator gets no other noise; the two last stages have none, whatever the depth.
    It acts in training mode. Sizes are multiples of 2^depth, else ValueError.
    """

    per_sample = True

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        *,
        width: int = 32,
        depth: int = 3,
        dims: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.inputs, self.multiple = inputs, 1 << depth
        widths = [width * min(1 << level, 8) for level in range(depth + 1)]
        self.first = block(CONV[dims](inputs, width, 3, padding=1, bias=False), width)
        self.down = nn.ModuleList(
            block(CONV[dims](before, after, 4, stride=2, padding=1, bias=False), after)
            for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                block(ResizeConv(dims, below * (1 if level == depth - 1 else 2), here), here),
                nn.Dropout(dropout if level >= max(2, depth - INNERMOST) else 0.0),
            )
            for level, (here, below) in reversed(list(enumerate(pairwise(widths))))
        )
        self.last = CONV[dims](2 * width, outputs, 3, padding=1)
        initialise(self)

    def forward(self, y: Tensor) -> Tensor:
        features = [self.first(checked(y, self))]
        for stage in self.down:
            features.append(stage(features[-1]))
        x = features.pop()
        for stage in self.up:
            x = torch.cat([stage(x), features.pop()], 1)
        return self.last(x).tanh()


class ResNetTranslator(nn.Module):
    """Images y (n, inputs, *size) -> (n, outputs, *size) in [-1, 1], without skip connections (Johnson et al. 2016).

    Two stages halve the size, ``blocks`` residual blocks of two convolutions with 4 ``width`` channels follow, and
    two resize-convolutions come back. Sizes are multiples of 4, else ValueError.
    """

    per_sample = True
    multiple = 4

    def __init__(self, inputs: int = 1, outputs: int = 1, *, width: int = 32, blocks: int = 4, dims: int = 2) -> None:
        super().__init__()
        self.inputs = inputs
        conv = CONV[dims]
        layers: list[nn.Module] = [block(conv(inputs, width, 5, padding=2, bias=False), width)]
        for before, after in ((width, 2 * width), (2 * width, 4 * width)):
            layers.append(block(conv(before, after, 4, stride=2, padding=1, bias=False), after))
        layers += [Residual(4 * width, dims) for _ in range(blocks)]
        for before, after in ((4 * width, 2 * width), (2 * width, width)):
            layers.append(block(ResizeConv(dims, before, after), after))
        self.layers = nn.Sequential(*layers, conv(width, outputs, 5, padding=2), nn.Tanh())
        initialise(self)

    def forward(self, y: Tensor) -> Tensor:
        return self.layers(checked(y, self))


class DilatedTranslator(nn.Module):
    """Images y (n, inputs, *size) -> (n, outputs, *size) in [-1, 1] at full resolution throughout (Yu, Koltun 2016).

    3-wide convolutions of ``width`` channels whose taps lie 1, 2, 4, 8, 4, 2 and 1 pixels apart, so that a pixel sees
    47 pixels along each axis without any pooling.
    """

    per_sample = True
    multiple = 1

    def __init__(self, inputs: int = 1, outputs: int = 1, *, width: int = 32, dims: int = 2) -> None:
        super().__init__()
        self.inputs = inputs
        conv, layers, before = CONV[dims], [], inputs
        for gap in (1, 2, 4, 8, 4, 2, 1):
            layers.append(block(conv(before, width, 3, padding=gap, dilation=gap, bias=False), width))
            before = width
        self.layers = nn.Sequential(*layers, conv(width, outputs, 3, padding=1), nn.Tanh())
        initialise(self)

    def forward(self, y: Tensor) -> Tensor:
        return self.layers(checked(y, self))


class PatchCritic(nn.Module):
    """Images x (n, channels, *size), and the images y that they belong to -> one logit a patch (n, *patches).

    As in Isola et al. (2017) it is convolutional, so it judges overlapping patches of `receptive_field` pixels and
    nothing larger: ``stages`` convolutions of stride 2 and two of stride 1, each 4 pixels wide (0 stages: three
    convolutions of single pixels). ``inputs`` counts the channels of x and y together. Images smaller than
    3 * 2^stages raise ValueError.
    """

    per_sample = True

    def __init__(self, inputs: int = 1, *, width: int = 32, stages: int = 2, dims: int = 2) -> None:
        super().__init__()
        conv, layers, before = CONV[dims], [], inputs
        kernel, padding = (4, 1) if stages else (1, 0)
        self.receptive_field = 1 + (kernel - 1) * ((1 << stages) - 1 + 2 * (1 << stages)) if stages else 1
        self.least = 3 << stages if stages else 1
        for stage in range(max(stages, 1) + 1):
            after = width * min(1 << stage, 8)
            stride = 2 if stage < stages else 1
            layers += [conv(before, after, kernel, stride=stride, padding=padding), nn.LeakyReLU(0.2, inplace=True)]
            before = after
        self.layers = nn.Sequential(*layers, conv(before, 1, kernel, padding=padding))
        initialise(self)

    def forward(self, x: Tensor, *y: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.least:
            raise ValueError(f"images of {tuple(x.shape[2:])} pixels, patches need {self.least} along each axis")
        return self.layers(torch.cat([x, *y], 1) if y else x).squeeze(1)


class Residual(nn.Module):
    """x + f(x), f two 3-wide convolutions with instance norm."""

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            block(CONV[dims](width, width, 3, padding=1, bias=False), width),
            CONV[dims](width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class InstanceNorm(nn.Module):
    """Each channel of each image to mean 0 and variance 1, then scaled and shifted (Ulyanov et al. 2016).

    In evaluation it does the same as in training. On a CPU it is the batch norm of one image after the other: 8 images
    of 32 x 64 x 64 take 1.6 ms there and back in float32 and 1.3 ms in bfloat16, on one core, where group norm with
    one channel a group takes 4.5 and 25 ms and `torch.nn.InstanceNorm2d` loses the channels-last layout.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0].numel() == 1:  # its own mean; torch's norms refuse it
            return x - x + self.bias.to(x.dtype).view(-1, *[1] * (x.ndim - 2))
        with torch.autocast(x.device.type, enabled=False):  # statistics are float32 whatever x is
            if x.device.type != "cpu":
                return F.group_norm(x, len(self.weight), self.weight.to(x.dtype), self.bias.to(x.dtype))
            return torch.cat([F.batch_norm(one, None, None, self.weight, self.bias, True) for one in x.split(1)])


def block(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, InstanceNorm(width), nn.LeakyReLU(0.2, inplace=True))


def checked(y: Tensor, net: nn.Module) -> Tensor:
    if y.ndim < 3 or y.shape[1] != net.inputs:
        raise ValueError(f"images have shape {tuple(y.shape)}, this network takes (n, {net.inputs}, *size)")
    if any(size % net.multiple for size in y.shape[2:]):
        raise ValueError(
            f"images of {' x '.join(map(str, y.shape[2:]))} pixels for a network that needs multiples of "
            f"{net.multiple}: pad them with torch.nn.functional.pad, and crop its output"
        )
    return y
