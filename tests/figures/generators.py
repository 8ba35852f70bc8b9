"""Generators of every kind that a page can compute, as if they had been trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medgan_lib import networks
from medgan_lib.networks.dcgan import start_weights


class Cut(nn.Module):
    """One vector, of which the last entries are the condition."""

    def __init__(self, G: nn.Module, latent: int) -> None:
        super().__init__()
        self.G, self.latent = G, latent

    def forward(self, v: Tensor) -> Tensor:
        return self.G(v[:, : self.latent], v[:, self.latent :])


class ConditionalNorm(nn.Module):
    """Batch norm whose factors and summands depend on the class, of which an embedding is the table."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(5, 3 * 4), nn.BatchNorm2d(3, affine=False)
        self.factor, self.summand = nn.Embedding(4, 3), nn.Embedding(4, 3)
        self.last = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, v: Tensor) -> Tensor:
        z, y = v.split([5, 4], 1)
        x = self.norm(self.dense(z).view(-1, 3, 2, 2))
        x = (1 + y @ self.factor.weight)[:, :, None, None] * x + (y @ self.summand.weight)[:, :, None, None]
        return 2 * torch.sigmoid(self.last(torch.relu(x))) - 1


class Plain(nn.Module):
    """Arithmetic in all directions, a skip connection, a constant beside the noise, slices from the end."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.conv = nn.Linear(7, 2 * 9), nn.Conv2d(2, 2, 3, padding=1)
        self.register_buffer("fixed", torch.tensor([[0.5, -1.0]]))
        self.register_buffer("map", torch.linspace(-1, 1, 9).view(1, 1, 3, 3))

    def forward(self, v: Tensor) -> Tensor:
        h = torch.cat([v[:, -2:], self.fixed, v[:, 0, None], v[:, 1:3] / 2], 1)
        x = self.dense(h).unflatten(1, (2, 3, 3))
        x = torch.tanh(0.5 - x) + 0.3 * self.conv(x) - self.map
        return (x * torch.sigmoid(x))[:, 1:].clone().mul_(2).add(-0.1)


def odd() -> nn.Sequential:
    """Sizes and strides that the library's generators do not have; activations in place behind a view."""
    return nn.Sequential(
        nn.Linear(5, 32), nn.LeakyReLU(0.2, inplace=True), nn.Linear(32, 48), nn.BatchNorm1d(48),
        nn.Unflatten(1, (3, 4, 4)), nn.ReLU(inplace=True), nn.Upsample(scale_factor=3),
        nn.Conv2d(3, 4, (5, 3), stride=2, padding=(2, 1)), nn.Tanh(),
        nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1), nn.Dropout(0.5), nn.Identity(), nn.LeakyReLU(),
        nn.ConvTranspose2d(2, 2, 4, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1), nn.Sigmoid(),
    )  # fmt: skip


def upsampling() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 8), nn.Unflatten(1, (2, 2, 2)), nn.Upsample(scale_factor=2), nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


KINDS = {
    "Generator": (32, lambda: networks.Generator((1, 32, 32), 32, 8)),
    "not square": (6, lambda: networks.Generator((3, 16, 24), 6, 4)),
    "DCGAN": (16, lambda: networks.DCGenerator((1, 16, 16), 16, 6)),
    "DCGAN, pooled": (16, lambda: networks.DCGenerator((3, 16, 16), 16, 6, up=networks.pooled_up)),
    "DCGAN, dense, no norm": (16, lambda: networks.DCGenerator((1, 16, 16), 16, 6, hidden=9, norm=nn.Identity)),
    "dense": (8, lambda: networks.DenseGenerator((1, 8, 16), 8, 24)),
    "conditional": (11, lambda: Cut(networks.ConditionalGenerator((1, 16, 16), 3, 8, 4), 8)),
    "concatenated": (9, lambda: Cut(networks.Conditioned(networks.Generator((1, 8, 8), 9, 4), 6, 3), 6)),
    "conditional norm": (9, ConditionalNorm),
    "arithmetic": (5, Plain),
    "odd": (5, odd),
    "upsampling": (3, upsampling),
}


def trained(kind: str) -> tuple[nn.Module, int]:
    """The generator, in training mode, and the length of its vector."""
    latent, make = KINDS[kind]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        G = make()
        if kind in ("odd", "upsampling", "arithmetic"):
            start_weights(G)
        for module in G.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
                module.bias.normal_(0, 0.2)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                if module.weight is not None:
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.3)
    return G, latent


def vectors(n: int, latent: int) -> Tensor:
    return torch.randn(n, latent, generator=torch.Generator().manual_seed(2))
