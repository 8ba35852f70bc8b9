"""A GAN whose latent space is a box (review Sec. 2.2; Radford et al. 2016, Lipton and Tripathi 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from medgan_lib.methods.gan import GAN


class UniformGAN(GAN):
    """`GAN` with z uniform in [-1, 1]: nothing else changes."""

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """z (n, G.latent), every entry uniform in [-1, 1], on G's device."""
        device = next(self.G.parameters()).device
        where = device if generator is None else generator.device
        return (2 * torch.rand(n, self.G.latent, device=where, generator=generator) - 1).to(device)
