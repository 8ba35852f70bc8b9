"""Generator and critic of Karras et al. 2018, Table 2: two convolutions a stage, equalised learning rates, pixel norm
in G, and in D the deviation within the minibatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from .equalised import EqualConv, EqualLinear, MinibatchDeviation
from .images import matching
from .progressive import Growing, halved, pixel_norm, repeated


class ProGenerator(Growing):
    """Noise z (n, latent) -> images (n, channels, resolution, resolution); there is no tanh, as in the paper.

    The finest map has ``width`` channels, each coarser one twice as many, at most ``most``. While a stage is blended
    in, the image is (1 - alpha) of the coarser stage's image with every pixel repeated, and alpha of the new one's.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int = 128,
        width: int = 16,
        *,
        most: int = 512,
        start: int = 4,
        refine: bool = True,
        equalised: bool = True,
    ) -> None:
        super().__init__(shape, width, most, start)
        self.latent = latent
        first, same = self.widths[0], {"equalised": equalised}
        self.project = EqualLinear(latent, first * start**2, gain=2**0.5 / start, **same)
        self.first = EqualConv(first, first, **same)
        self.stages = nn.ModuleList(
            nn.ModuleList([EqualConv(before, after, resize=2, **same), *further(refine, after, same)])
            for before, after in pairwise(self.widths)
        )
        self.to_image = nn.ModuleList(EqualConv(width, self.shape[0], 1, gain=1.0, **same) for width in self.widths)

    def forward(self, z: Tensor) -> Tensor:
        x = self.project(pixel_norm(z)).unflatten(1, (self.widths[0], *[self.resolutions[0]] * 2))
        x = older = active(self.first, pixel_norm(F.leaky_relu(x, 0.2)))
        for stage in self.stages[: self.stage]:
            older = x
            for layer in stage:
                x = active(layer, x)
        image = self.to_image[self.stage](x)
        if self.alpha == 1:
            return image
        return self.blend(repeated(self.to_image[self.stage - 1](older)), image)


class ProCritic(Growing):
    """Images (n, channels, resolution, resolution) -> one number a sample (n,); the mirror of `ProGenerator`.

    While a stage is blended in, its output counts alpha, and what the coarser stage makes of the averaged image
    1 - alpha. With ``deviation`` it compares the samples of a minibatch, so real and generated ones pass by
    themselves. Raises ValueError for images of another resolution than the present one.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 16,
        *,
        most: int = 512,
        start: int = 4,
        refine: bool = True,
        equalised: bool = True,
        deviation: bool = True,
    ) -> None:
        super().__init__(shape, width, most, start)
        self.per_sample = not deviation
        first, same = self.widths[0], {"equalised": equalised}
        self.from_image = nn.ModuleList(EqualConv(self.shape[0], width, 1, **same) for width in self.widths)
        self.stages = nn.ModuleList(
            nn.ModuleList([*further(refine, after, same), EqualConv(after, before, resize=0.5, **same)])
            for before, after in pairwise(self.widths)
        )
        self.deviation = MinibatchDeviation() if deviation else nn.Identity()
        self.last = EqualConv(first + deviation, first, **same)
        self.dense = EqualLinear(first * start**2, first, **same)
        self.judge = EqualLinear(first, 1, gain=1.0, **same)

    def forward(self, x: Tensor) -> Tensor:
        matching(x, (self.shape[0], self.resolution, self.resolution))
        newest = self.stage
        features = F.leaky_relu(self.from_image[newest](x), 0.2)
        for i in reversed(range(newest)):
            for layer in self.stages[i]:
                features = F.leaky_relu(layer(features), 0.2)
            if i == newest - 1 and self.alpha < 1:
                features = self.blend(F.leaky_relu(self.from_image[i](halved(x)), 0.2), features)
        features = F.leaky_relu(self.last(self.deviation(features)), 0.2)
        return self.judge(F.leaky_relu(self.dense(features.flatten(1)), 0.2)).squeeze(1)


def further(refine: bool, width: int, same: dict[str, bool]) -> list[nn.Module]:
    """The convolution of a stage that keeps the size, or none."""
    return [EqualConv(width, width, **same)] if refine else []


def active(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer, LeakyReLU(0.2) and pixel norm."""
    return pixel_norm(F.leaky_relu(layer(x), 0.2))
