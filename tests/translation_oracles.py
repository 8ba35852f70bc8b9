"""Oracles of Table 1, of Adam's first step, and of gradients; images that have known translations."""

from __future__ import annotations

import torch
from torch import nn

from medgan_lib.networks.translators import (
    PatchCritic,
    UNet,
)


def images(n: int, size: tuple[int, ...] = (8, 8), seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    noise = torch.randn(n, 1, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise.mul(0.5).clamp(-1, 1).to(dtype)


LOSSES = {  # a sample's term in plain formulae: D on real, D on generated, G
    "gan": (
        lambda l: -torch.log(torch.sigmoid(l)),
        lambda l: -torch.log(1 - torch.sigmoid(l)),
        lambda l: torch.log(1 - torch.sigmoid(l)),
    ),
    "gan-ma": (
        lambda l: -torch.log(torch.sigmoid(l)),
        lambda l: -torch.log(1 - torch.sigmoid(l)),
        lambda l: -torch.log(torch.sigmoid(l)),
    ),
    "lsgan": (lambda l: (l - 1) ** 2, lambda l: l**2, lambda l: (l - 1) ** 2),
    "wgan": (lambda l: -l, lambda l: l, lambda l: -l),
}


def expectation(terms) -> torch.Tensor:
    """Mean over samples, of means over what each sample gave."""
    return sum(term.mean() for term in terms) / len(terms)


def each(net: nn.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The net on one sample after the other."""
    return [net(*(part[i : i + 1] for part in inputs)) for i in range(len(inputs[0]))]


def first_step(nets: list[nn.Module], loss: torch.Tensor, lr: float, kept: float = 0.0) -> list[torch.Tensor]:
    """Gradients of the loss; the nets are moved as Adam moves them the first time.

    With ``kept`` as RMSProp does that keeps so much of its mean square, 0 at first, and takes the rest of the new one.
    """
    parameters = [p for net in nets for p in net.parameters()]
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= lr * g / ((1 - kept) ** 0.5 * g.abs() + 1e-8)
    return list(gradients)


def worst(pairs_) -> float:
    """Largest difference relative to the largest of what is expected."""
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in pairs_)


def gradients(*nets: nn.Module) -> list[torch.Tensor]:
    return [p.grad for net in nets for p in net.parameters()]


def weights(*nets: nn.Module) -> list[torch.Tensor]:
    return [p.detach() for net in nets for p in net.parameters()]


def cycle_players() -> list[nn.Module]:
    torch.manual_seed(0)
    generators = [UNet(width=2, depth=1).double() for _ in range(2)]
    return [*generators, *(PatchCritic(width=2, stages=1).double() for _ in range(2))]


def blobs(n: int, seed: int) -> torch.Tensor:
    """Bright discs in two sizes on dark (n, 1, 16, 16), with a little noise."""
    draw = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    centre = 4 + 8 * torch.rand(n, 2, 1, 1, generator=draw)
    radius = 2 + 2 * torch.rand(n, 1, 1, generator=draw)
    disc = torch.tanh(radius - (grid - centre).square().sum(1).sqrt())[:, None]
    return (0.3 + 0.6 * disc + 0.03 * torch.randn(disc.shape, generator=draw)).clamp(-1, 1)


def small_net(width: int = 8) -> UNet:
    return UNet(width=width, depth=1)
