"""A linear game whose best codes are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medgan_lib.methods import anogan, latent_search

LATENT, PIXELS, FEATURES, LAM = 3, 12, 5, 0.3


class LinearG(nn.Module):
    """x = A z + b as images (n, 1, 3, 4)."""

    latent = LATENT

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(LATENT, PIXELS).double()

    def forward(self, z: Tensor) -> Tensor:
        return self.dense(z).reshape(-1, 1, 3, 4)


class LinearD(nn.Module):
    """Features B x, and a logit of them. The dropout before shows whether D is in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(PIXELS, FEATURES)).double()
        self.head = nn.Linear(FEATURES, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).squeeze(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(n, LATENT, generator=generator, dtype=torch.float64)


def players() -> tuple[LinearG, LinearD, Tensor, Tensor]:
    """G and D, codes, and images of which only the first half have one."""
    torch.manual_seed(0)
    G, D = LinearG(), LinearD()
    z = noise(8, seeded(1))
    x = G(z).detach()
    x[4:] += 0.5 * torch.randn(4, 1, 3, 4, generator=seeded(2), dtype=torch.float64)
    return G, D, z, x


def search(G: nn.Module, D: nn.Module, x: Tensor, **options) -> anogan.AnomalyScores:
    return latent_search(G, D, x, **({"noise": noise, "lam": LAM, "steps": 300, "generator": seeded(3)} | options))
