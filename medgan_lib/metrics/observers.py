"""A model observer in a reader's place: the channelised Hotelling observer (review Sec. 5.1).

It sees an image through a few channels like those of the visual system, weighs what they answer in the best linear
way, and is unsure, as people are: Yao and Barrett, Proc SPIE 1768 (1992); He and Park, Theranostics 3:774 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

OCTAVES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)  # cycles a pixel


def gabor_channels(
    size: Sequence[int], frequencies: Sequence[float] = OCTAVES, orientations: int = 4, bandwidth: float = 1.0
) -> Tensor:
    """Pairs of Gabor functions about the middle of an image (h, w): float64 (frequencies x orientations, 2, h, w).

    A wave of each ``frequency`` (cycles a pixel) and orientation under a Gaussian, as cosine and as sine; ``bandwidth``
    is in octaves. Each sums to 0, so that none answers to an even image, and its squares sum to 1.
    """
    down, right = (torch.arange(s, dtype=torch.float64) - (s - 1) / 2 for s in size)
    spread = math.sqrt(math.log(2) / 2) / math.pi * (2**bandwidth + 1) / (2**bandwidth - 1)
    pairs = []
    for f in frequencies:
        bell = torch.exp(-(down[:, None] ** 2 + right**2) / (2 * (spread / f) ** 2))
        for k in range(orientations):
            angle = math.pi * k / orientations
            phase = 2 * math.pi * f * (math.sin(angle) * down[:, None] + math.cos(angle) * right)
            pairs.append(torch.stack([bell * phase.cos(), bell * phase.sin()]))
    channels = torch.stack(pairs)
    channels = channels - channels.mean((-2, -1), keepdim=True)
    return channels / channels.square().sum((-2, -1), keepdim=True).sqrt()


class HotellingObserver(nn.Module):
    """Says whether images are real: images (n, c, h, w) -> logits (n, 2) of "generated" and "real", for `turing_test`.

    Its responses v are what each channel (k, m, h, w) answers at the middle of the image and, with ``texture``, the
    logarithm of how strongly the m channels of a pair answer together, on average over all places (with periodic
    borders): an observer that weighs answers at one place cannot see a texture, whose mean answer is 0.
    `HotellingObserver.learn` gives it a template w = (K + N)^-1 (mean v of real images - mean v of generated ones),
    where K is the covariance of v within the two kinds and N its internal noise: each response is uncertain by
    ``noise`` times its standard deviation, anew at every look. ``detectability`` is d' = sqrt(w^T difference), on the
    images that it learnt from.
    """

    def __init__(self, channels: Tensor, noise: float = 0.75, texture: bool = True, seed: int = 0) -> None:
        super().__init__()
        if channels.ndim != 4 or noise < 0:
            raise ValueError(f"channels are (k, m, h, w), noise is 0 or more, not {tuple(channels.shape)} and {noise}")
        self.noise, self.texture, self.draw = noise, texture, torch.Generator().manual_seed(seed)
        self.register_buffer("channels", channels.double())
        count = channels.shape[0] * (channels.shape[1] + texture)
        for name in ("template", "middle", "spread"):
            self.register_buffer(name, torch.zeros(count, dtype=torch.float64))
        self.detectability = 0.0

    @classmethod
    def learn(cls, real: Tensor, generated: Tensor, channels: Tensor, **options) -> Self:
        """An observer that has seen images (n, c, h, w) of both kinds, more than it has responses in all."""
        observer = cls(channels, **options)
        seen = [observer.responses(x) for x in (generated, real)]
        if sum(map(len, seen)) <= seen[0].shape[1] + 2:
            raise ValueError(f"{sum(map(len, seen))} images are too few for {seen[0].shape[1]} responses")
        means, difference = [v.mean(0) for v in seen], seen[1].mean(0) - seen[0].mean(0)
        K = sum((v - m).T @ (v - m) for v, m in zip(seen, means, strict=True)) / (sum(map(len, seen)) - 2)
        total = K + (observer.noise**2 + 1e-9) * K.diagonal().diag()  # the rest keeps it invertible
        observer.template, observer.middle = torch.linalg.solve(total, difference), sum(means) / 2
        observer.spread = K.diagonal().sqrt()
        observer.detectability = math.sqrt(max(float(observer.template @ difference), 0.0))
        return observer

    def responses(self, x: Tensor) -> Tensor:
        """v (n, responses), float64, without internal noise, of images whose colours are averaged."""
        x = x.double().mean(1)
        at_middle = torch.einsum("nhw,kmhw->nkm", x, self.channels).flatten(1)
        if not self.texture:
            return at_middle
        power = torch.fft.fft2(x).abs().square()
        passed = torch.fft.fft2(self.channels).abs().square().sum(1)  # by the convolution theorem, and Parseval's
        energy = torch.einsum("nhw,khw->nk", power, passed) / x[0].numel() ** 2
        return torch.cat([at_middle, (energy + 1e-12).log()], 1)

    def forward(self, x: Tensor) -> Tensor:
        v = self.responses(x)
        doubt = torch.randn(v.shape, generator=self.draw, dtype=torch.float64).to(v.device)
        ratio = (v + self.noise * self.spread * doubt - self.middle) @ self.template
        return torch.stack([-ratio / 2, ratio / 2], 1).float()
