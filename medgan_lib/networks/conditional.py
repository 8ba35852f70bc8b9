"""Networks that take a condition y (n, k) beside their input (review Sec. 2.3, Fig. 3).

``condition`` on each of them is k, the length of y that it was made for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .images import Critic, Generator, checked_shape, downsampling, flat_size, matching
from .mlp import initialise

HIDDEN = 64  # units that y is mapped to before it meets the noise


class Conditioned(nn.Module):
    """A network of vectors that also takes y: (v (n, a), y (n, condition)) -> net([v, y]), net made for a + condition.

    As a generator it draws its noise from ``latent`` = a dimensions.
    """

    def __init__(self, net: nn.Module, inputs: int, condition: int) -> None:
        super().__init__()
        self.net, self.latent, self.condition = net, inputs, condition
        self.per_sample = getattr(net, "per_sample", False)

    def forward(self, v: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([v, y], 1))


class ConditionalGenerator(nn.Module):
    """Noise z (n, latent) and a condition y (n, condition) -> images (n, *shape) in [-1, 1].

    As in Mirza and Osindero (2014), y has a hidden layer of its own before it joins the noise: a single number, such as
    a diameter, would otherwise be one input among ``latent`` + 1. From there on it is a `Generator`.
    Raises ValueError for a shape that it cannot make or ``condition`` < 1.
    """

    def __init__(self, shape: Sequence[int], condition: int, latent: int = 64, width: int = 64) -> None:
        super().__init__()
        self.latent, self.condition = latent, at_least_one(condition)
        self.embed = nn.Sequential(nn.Linear(condition, HIDDEN), nn.LeakyReLU(0.2))
        initialise(self.embed)
        spread_kinks(self.embed[0])
        self.net = Generator(shape, latent + HIDDEN, width)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([z, self.embed(y)], 1))


class ConditionalCritic(nn.Module):
    """Images x (n, *shape) and a condition y (n, condition) -> one number a sample (n,).

    y is projected to one map of the size of an image, which joins x as a further channel, so that every layer can
    compare the two; behind that it is a `Critic`. Raises ValueError as `Critic` does, and for ``condition`` < 1.
    """

    per_sample = True

    def __init__(self, shape: Sequence[int], condition: int, width: int = 64) -> None:
        super().__init__()
        channels, *size = self.shape = checked_shape(shape)
        self.condition = at_least_one(condition)
        self.map = nn.Sequential(
            nn.Linear(condition, HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(HIDDEN, math.prod(size)),
            nn.Unflatten(1, (1, *size)),
        )
        initialise(self.map)
        spread_kinks(self.map[0])
        self.net = Critic((channels + 1, *size), width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([x, self.map(y)], 1))


class ProjectionCritic(nn.Module):
    """Images x (n, *shape) and a condition y (n, condition) -> one number a sample (n,): Miyato and Koyama (2018).

    With features phi(x), those of a `Critic`, it is ``real(phi(x)) + <fits(y), phi(x)>``: whether x looks real, and
    whether x and y belong together. ``fits`` is linear, which is enough for classes; numbers should pass ``hidden``
    units first, so that large ones may ask for something else than small ones. ``spectral`` divides each layer by its
    largest singular value, as the authors do (Miyato et al. 2018), so that no penalty is needed. Raises ValueError as
    `Critic` does, and for ``condition`` < 1.
    """

    per_sample = True

    def __init__(
        self, shape: Sequence[int], condition: int, width: int = 64, *, hidden: int = 0, spectral: bool = False
    ) -> None:
        super().__init__()
        self.shape, self.condition = checked_shape(shape), at_least_one(condition)
        features = flat_size(self.shape, width)
        self.features = nn.Sequential(*downsampling(self.shape, width), nn.Flatten())
        self.real = nn.Linear(features, 1)
        self.fits = nn.Linear(hidden or condition, features, bias=False)
        if hidden:
            self.fits = nn.Sequential(nn.Linear(condition, hidden), nn.LeakyReLU(0.2), self.fits)
        initialise(self)
        if hidden:
            spread_kinks(self.fits[0])
        if spectral:
            for layer in [layer for layer in self.modules() if hasattr(layer, "weight")]:
                spectral_norm(layer)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.features(matching(x, self.shape))
        return self.real(h).squeeze(1) + (self.fits(y) * h).sum(1)


def at_least_one(condition: int) -> int:
    if condition < 1:
        raise ValueError(f"condition must be the length of y, at least 1, not {condition}")
    return condition


def spread_kinks(layer: nn.Linear) -> None:
    """With few inputs and no bias all kinks of the hidden units would lie at the origin."""
    nn.init.uniform_(layer.bias, -1, 1)
