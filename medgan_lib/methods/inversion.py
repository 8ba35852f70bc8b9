"""From an image back to its latent code: descent on z with the generator held fixed (review Sec. 2.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medgan_lib.methods.base import fixed
from medgan_lib.networks import batched, placed

BATCH = 256  # codes that pass the generator at once
CLIPPING = (None, "standard", "stochastic")


class Inversion(NamedTuple):
    """Of n images with r restarts each: the best code, its image, its error, and those of every restart.

    ``z`` (n, latent), ``x`` (n, *shape), ``error`` (n,), ``all_z`` (r, n, latent), ``all_errors`` (r, n).
    """

    z: Tensor
    x: Tensor
    error: Tensor
    all_z: Tensor
    all_errors: Tensor


def squared_error(generated: Tensor, x: Tensor) -> Tensor:
    """Mean squared difference of each image, (n,)."""
    return (generated - x).square().flatten(1).mean(1)


def invert(
    G: nn.Module,
    x: Tensor,
    *,
    noise: Callable[[int, torch.Generator | None], Tensor],
    steps: int = 300,
    restarts: int = 1,
    clipping: str | None = None,
    lr: float = 0.1,
    loss: Callable[[Tensor, Tensor], Tensor] = squared_error,
    generator: torch.Generator | None = None,
    device: str | torch.device = "auto",
) -> Inversion:
    """Finds z with G(z) near x by descent (Adam, step size falling to 0 along a cosine) on ``loss``.

    G: maps (n, G.latent) to images; runs in evaluation mode, is not changed, and gets no gradients.
    x: images (n, *shape) as G makes them. noise: draws starting points, such as `GAN.noise`.
    clipping: None lets z go anywhere. "standard" puts entries that leave [-1, 1] back to the border. "stochastic"
        draws them anew, uniformly in [-1, 1], so that none gets stuck there (Lipton and Tripathi 2017); both are for a
        generator whose z is uniform.
    loss: (generated, x) -> (n,), each image by itself.
    generator: of the starting points and of the redrawn entries, on the CPU.
    device: where the descents run, as `networks.chosen_device` has it. The result comes back where x is.

    Each restart keeps the best of the codes it passed; the one with the lowest loss wins. Raises ValueError for
    steps or restarts below 1, an unknown clipping, images that G does not make, codes that G does not take.
    """
    for name, value in (("steps", steps), ("restarts", restarts)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if clipping not in CLIPPING:
        raise ValueError(f"unknown clipping {clipping!r}; there are {', '.join(map(str, CLIPPING))}")
    start = noise(restarts * len(x), generator)
    latent = getattr(G, "latent", start.shape[-1])
    if tuple(start.shape) != (restarts * len(x), latent):
        raise ValueError(f"noise has shape {tuple(start.shape)}, but G takes codes ({restarts * len(x)}, {latent})")
    with placed(device, G) as where, fixed(G):
        start, target = start.to(where), x.to(where)
        with torch.no_grad():
            made = tuple(G(start[:1]).shape[1:])
        if tuple(x.shape[1:]) != made:
            raise ValueError(f"images of shape {tuple(x.shape[1:])} for a generator of {made}: crop, pad or resample")
        parts = [
            _descend(G, z, y, steps, clipping, lr, loss, generator)
            for z, y in zip(start.split(BATCH), target.repeat(restarts, *[1] * (x.ndim - 1)).split(BATCH), strict=True)
        ]
        z, error = (torch.cat(part) for part in zip(*parts, strict=True))
        z, error = z.view(restarts, len(x), latent), error.view(restarts, len(x))
        best = error.argmin(0)
        chosen = z[best, torch.arange(len(x), device=z.device)]
        images = batched(G, chosen, BATCH)
        return Inversion(*(part.to(x.device) for part in (chosen, images, error.min(0).values, z, error)))


def _descend(
    G: nn.Module,
    start: Tensor,
    x: Tensor,
    steps: int,
    clipping: str | None,
    lr: float,
    loss: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """The best code that each descent passed, and its loss."""
    z = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=lr)
    best, lowest = start.clone(), torch.full((len(x),), math.inf, device=x.device)

    def keep(error: Tensor) -> tuple[Tensor, Tensor]:
        better = error < lowest
        return torch.where(better[:, None], z.detach(), best), torch.where(better, error, lowest)

    for step in range(steps):
        error = loss(G(z), x)
        best, lowest = keep(error.detach())
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        (z.grad,) = torch.autograd.grad(error.sum(), z)
        optimizer.step()
        with torch.no_grad():
            if clipping == "standard":
                z.clamp_(-1, 1)
            elif clipping == "stochastic":
                out = z.abs() > 1
                where = z.device if generator is None else generator.device
                z.copy_(torch.where(out, (2 * torch.rand(z.shape, device=where, generator=generator) - 1).to(z), z))
                optimizer.state[z]["exp_avg"].masked_fill_(out, 0)  # what pushed the old value out says nothing now
    with torch.no_grad():
        return keep(loss(G(z), x))
