"""A critic of pairs (x, z), which judges whether an image and a latent code belong together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .images import checked_shape, downsampling, flat_size, matching
from .mlp import initialise


class JointCritic(nn.Module):
    """Images x (n, *shape) with codes z (n, latent) -> one logit a pair (n,), as BiGAN asks for.

    The image passes the three convolutions of `Critic`, the code a dense layer of ``hidden`` units; they meet in
    another dense layer, so that what counts is whether they fit, not only what each looks like. Raises ValueError for
    an unsupported shape, and for images or codes of another size than it was made for.
    """

    per_sample = True

    def __init__(self, shape: Sequence[int], latent: int, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.shape, self.latent = checked_shape(shape), latent
        self.image = nn.Sequential(*downsampling(self.shape, width), nn.Flatten())
        self.code = nn.Sequential(nn.Linear(latent, hidden), nn.LeakyReLU(0.2))
        self.pair = nn.Sequential(
            nn.Linear(flat_size(self.shape, width) + hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )
        initialise(self)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"codes of shape {tuple(z.shape)} for a critic made for (n, {self.latent})")
        return self.pair(torch.cat([self.image(matching(x, self.shape)), self.code(z)], dim=1)).squeeze(1)
