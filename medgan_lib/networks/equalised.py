"""Layers with an equalised learning rate (Karras et al. 2018, Sec. 4.1).

Weights start as N(0, 1), and every pass multiplies them by He's constant. So the scale of a layer, which depends on how
many numbers meet in it, isn't in what the optimizer sees: Adam moves every weight by the same share of its spread.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import is_channels_last


class EqualConv(nn.Conv2d):
    """A convolution (n, inputs, s, s) -> (n, outputs, s', s') that keeps the size, doubles or halves it.

    ``resize`` is 1, 2 or 0.5. Doubling repeats every pixel before the convolution, halving averages 2 x 2 pixels behind
    it; both happen in the kernel itself, smoothed by a box of 2, as in the authors' code. ``gain`` is He's sqrt(2)
    before a ReLU, and 1 where nothing follows. Without ``equalised`` the constant is in the weights from the start.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        *,
        resize: float = 1,
        gain: float = 2**0.5,
        equalised: bool = True,
    ) -> None:
        if resize not in (0.5, 1, 2):
            raise ValueError(f"resize is {resize}, but must be 0.5, 1 or 2")
        super().__init__(inputs, outputs, size, padding=size // 2)
        self.resize = resize
        self.scale = start_(self, inputs * size * size, gain, equalised)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight * self.scale
        if self.resize == 1:
            return F.conv2d(x, kernel, self.bias, padding=self.padding)
        kernel = F.pad(kernel, (1, 1, 1, 1))
        kernel = kernel[..., 1:, 1:] + kernel[..., :-1, 1:] + kernel[..., 1:, :-1] + kernel[..., :-1, :-1]
        # a transposed convolution runs its kernel backwards; averaging divides by the four that the box adds up
        kernel = kernel.flip(2, 3).transpose(0, 1) if self.resize == 2 else kernel / 4
        if is_channels_last(x):  # the kernel is new each time and has to follow the images' layout
            kernel = kernel.contiguous(memory_format=torch.channels_last)
        if self.resize == 2:
            return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=self.padding)
        return F.conv2d(x, kernel, self.bias, stride=2, padding=self.padding)


class EqualLinear(nn.Linear):
    """A dense layer (n, inputs) -> (n, outputs), scaled as `EqualConv` is."""

    def __init__(self, inputs: int, outputs: int, *, gain: float = 2**0.5, equalised: bool = True) -> None:
        super().__init__(inputs, outputs)
        self.scale = start_(self, inputs, gain, equalised)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class MinibatchDeviation(nn.Module):
    """Appends one map that says how much the samples of a minibatch differ: (n, c, h, w) -> (n, c + 1, h, w).

    The standard deviation of every feature over a group of samples, averaged over features and places (Karras et al.
    2018, Sec. 3). A generator that makes the same image again and again gives itself away by a 0 there. Groups have
    ``group`` samples, or all where that doesn't divide their number.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        n, _, *size = x.shape
        group = self.group if n % self.group == 0 else n
        dealt = x.float().unflatten(0, (group, n // group))
        deviation = (dealt.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # one number a group
        return torch.cat([x, deviation.repeat(group).to(x.dtype).view(n, 1, 1, 1).expand(n, 1, *size)], 1)


def start_(layer: nn.Conv2d | nn.Linear, inputs: int, gain: float, equalised: bool) -> float:
    """Draws the weights of a layer whose outputs sum ``inputs`` numbers, and returns what a pass multiplies them by."""
    he = gain / inputs**0.5
    nn.init.normal_(layer.weight, std=1.0 if equalised else he)
    nn.init.zeros_(layer.bias)
    return he if equalised else 1.0
