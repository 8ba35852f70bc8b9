"""Generator and discriminator of one level of a Laplacian pyramid (Denton et al. 2015; review Sec. 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .images import Critic, matching
from .mlp import initialise


class BandGenerator(nn.Module):
    """Noise z (n, height * width) and the up-sampled coarse image l (n, *shape) -> the missing band h (n, *shape).

    The noise becomes one more channel of the image, as in the paper. Three convolutions of stride 1; no tanh, since a
    band isn't confined to [-1, 1]. ``scale`` is about the standard deviation of real bands, which is far below that
    of images: the output is multiplied by it, so that the first bands aren't larger than the image.
    Raises ValueError for a coarse image of another shape than it was made for.
    """

    def __init__(self, shape: Sequence[int], width: int = 32, *, scale: float = 1.0) -> None:
        super().__init__()
        channels, *size = self.shape = tuple(shape)
        if len(size) != 2 or min(shape) < 1:
            raise ValueError(f"shape {self.shape} is not supported: it must be (channels, height, width)")
        self.latent, self.scale = size[0] * size[1], scale
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, width, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        initialise(self)

    def forward(self, z: Tensor, l: Tensor) -> Tensor:
        plane = z.unflatten(1, (1, *self.shape[1:]))
        return self.scale * self.layers(torch.cat([matching(l, self.shape), plane], dim=1))


class BandCritic(nn.Module):
    """A band h and the up-sampled coarse image l, both (n, *shape) -> one number a sample (n,).

    It judges their sum, the image, as in the paper: a band that doesn't belong to its coarse image shows there.
    ``shape`` is (channels, height, width) with multiples of 8; raises ValueError for others.
    """

    per_sample = True

    def __init__(self, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        self.image = Critic(shape, width)

    def forward(self, h: Tensor, l: Tensor) -> Tensor:
        return self.image(h + l)
