"""What tests of architectures share."""

from __future__ import annotations

import torch
from torch import nn

from medgan_lib.networks import ProCritic, ProGenerator


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def corners(n: int, size: int) -> torch.Tensor:
    """Soft bright spots in one of two corners, (n, 1, size, size), as far apart as two images can be here."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, size)] * 2, indexing="ij"))
    centre = torch.where(torch.rand(n, 1, 1, 1) < 0.5, 0.25, 0.75) + 0.05 * torch.randn(n, 2, 1, 1)
    return 2 * torch.exp(-(grid - centre).square().sum(1, keepdim=True) / 0.04) - 1


def finds_both_corners(fake: torch.Tensor) -> bool:
    """Most images have a bright spot in one corner and the other corner dark; neither corner is left out."""
    half = fake.shape[-1] // 2
    first, second = fake[..., :half, :half].mean((1, 2, 3)), fake[..., half:, half:].mean((1, 2, 3))
    side = (first - second).abs() > 0.3  # about 0.6 in truth
    return bool(side.float().mean() > 0.7 and 0.15 < (first > second).float().mean() < 0.85)


SHAPE = (3, 16, 16)


def players(seed: int = 0) -> tuple[ProGenerator, ProCritic]:
    torch.manual_seed(seed)
    same = {"most": 8, "refine": False}
    return ProGenerator(SHAPE, 6, 4, **same), ProCritic(SHAPE, 4, deviation=False, **same)
