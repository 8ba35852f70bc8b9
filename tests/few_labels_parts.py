"""What tests of learning from few labels share."""

from __future__ import annotations

import torch
from torch import Tensor

K = 4


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cases() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Logits from nearly 0 to +-100, also of both signs in one image and in one batch."""
    found = []
    for scale in (0.1, 1.0, 10.0, 100.0):
        signs = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1], [1, -1, 1, -1]], dtype=torch.float64)
        for shift in (0.0, scale, -scale):
            logits = [numbers(3, K, seed=s).clamp(-1, 1).abs() * signs * scale + shift for s in range(3)]
            found.append((logits[0], torch.tensor([0, 2, 3]), logits[1], logits[2]))
    far = 100.0 * torch.tensor([[-1.0] * K, [1.0] * K, [-1.0] * K], dtype=torch.float64)  # the first has no large logit
    return [*found, (far, torch.tensor([1, 1, 0]), far, far)]


def batch(n: int = 6, seed: int = 0) -> dict[str, Tensor]:
    return {"x": numbers(n, 2, seed=seed), "label": torch.arange(n) % 2, "u": numbers(n, 2, seed=seed + 1)}
