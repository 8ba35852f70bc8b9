"""A GAN of steps along a curve."""

from __future__ import annotations

import torch
from torch import Tensor

from medgan_lib import networks, training
from medgan_lib.methods import GAN
from medgan_lib.physics import tubes, vessels


def arcs(n: int, seed: int) -> Tensor:
    """Steps (n, 4, 16) of circular arcs that bend to one of two sides, each with its own radius of the tube."""
    draw = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(n, generator=draw) < 0.5, -1.0, 1.0)
    angle = side[:, None] * (1 + 0.1 * torch.randn(n, 1, generator=draw)) * torch.linspace(0, 2, 16)
    wide = (0.3 * side)[:, None].expand(-1, 16)  # the two sides differ in width, too
    return torch.stack([0.5 * angle.cos(), 0.5 * angle.sin(), torch.zeros_like(angle), wide], 1)


def game(steps: int, n: int = 256) -> training.Run:
    torch.manual_seed(0)
    shape = (4, 16)
    method = GAN(networks.Generator(shape, 4, 12), networks.Critic(shape, 12), "wgan-gp", n_critic=2, ema=0.99, lr=1e-3)
    data = {"x": arcs(n, 0)}
    return training.fit(method, data, steps=steps, batch_size=24, seed=0, precision="float32")


def test_the_game_learns_two_families_and_what_goes_with_what() -> None:
    made = game(300).method.sample(300, torch.Generator().manual_seed(0))
    curve = tubes.walk(made[:, :3])
    bent = curve[:, 1, -1]
    both = (bent > 0).float().mean()
    assert 0.15 < both < 0.85, "one family alone"
    assert bent.abs().quantile(0.1) > 1, "vessels between the families"
    goes_with = torch.corrcoef(torch.stack([bent, made[:, 3].mean(1)]))[0, 1]
    assert goes_with > 0.9
    known = vessels.length(tubes.walk(arcs(300, 1)[:, :3])).mean()
    assert (vessels.length(curve) / known - 1).abs().median() < 0.25
    assert tubes.largest_step(curve).median() < 2
