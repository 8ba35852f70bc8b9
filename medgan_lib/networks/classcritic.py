"""The networks of Salimans et al. 2016 for few labels: a discriminator that is a classifier, its generator (Sec. 5.6).

Both are fully connected and work on pixels from 0 to 1, as the authors' program does; images outside are in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import matching
from .minibatch import MinibatchDiscrimination


class GaussianNoise(nn.Module):
    """Adds noise of standard deviation ``sigma`` while training; in evaluation it does nothing."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x) if self.training and self.sigma else x

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class WeightNormLinear(nn.Module):
    """A dense layer with the weights g v / |v|: of each unit the direction and the length (Salimans and Kingma 2016).

    (n, inputs) -> (n, outputs). The lengths g stay as `start_on` makes them unless ``learn_length``.
    """

    def __init__(self, inputs: int, outputs: int, *, learn_length: bool = False) -> None:
        super().__init__()
        self.v = nn.Parameter(0.1 * torch.randn(outputs, inputs))
        self.g = nn.Parameter(torch.ones(outputs), requires_grad=learn_length)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.v * (self.g / self.v.norm(dim=1)).unsqueeze(1), self.bias)

    @torch.no_grad()
    def start_on(self, x: Tensor) -> Tensor:
        """Chooses g and bias so that on x (n, inputs) each output has mean 0 and variance 1; returns these outputs."""
        y = self(x)
        mean, deviation = y.mean(0), y.std(0, correction=0).clamp_min(1e-6)
        self.g.div_(deviation)
        self.bias.sub_(mean).div_(deviation)
        return (y - mean) / deviation


class ClassCritic(nn.Module):
    """Images (n, *shape) -> K logits (n, K), one for each class, with ``features`` (n, width / 4) before them.

    Five hidden layers of ``width``, 1/2, 1/4, 1/4 and 1/4 ``width`` units with ReLU, all with weight normalisation.
    Few labels are stretched by Gaussian noise, in training only: of standard deviation ``noise[0]`` on the pixels, and
    ``noise[1]`` behind every hidden layer; the features are those before their noise. ``similarities`` > 0 puts
    minibatch discrimination before the last layer; the output for one image then depends on the others of its batch,
    and the network is not ``per_sample``. Call `start_on` before training. Raises ValueError for a width below 4,
    fewer than two classes, and images of another shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        width: int = 1000,
        *,
        noise: tuple[float, float] = (0.3, 0.5),
        similarities: int = 0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, not {classes}: there is nothing to tell apart")
        if width < 4:
            raise ValueError(f"width must be at least 4, not {width}")
        self.shape, self.classes, self.per_sample = tuple(shape), classes, not similarities
        sizes = [math.prod(self.shape), width, width // 2, *[width // 4] * 3]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(sizes)):
            layers += [GaussianNoise(noise[min(i, 1)]), WeightNormLinear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        alike = [MinibatchDiscrimination(sizes[-1], similarities)] if similarities else []
        last = WeightNormLinear(sizes[-1] + similarities, classes, learn_length=True)
        self.head = nn.Sequential(GaussianNoise(noise[1]), *alike, last)

    @torch.no_grad()
    def start_on(self, x: Tensor) -> None:
        """Initialisation by data: each layer's outputs for images x (n, *shape) get mean 0 and variance 1."""
        x = pixels(matching(x, self.shape))
        for layer in (*self.layers, *self.head):
            x = layer.start_on(x) if isinstance(layer, WeightNormLinear) else layer(x)

    def features(self, x: Tensor) -> Tensor:
        return self.layers(pixels(matching(x, self.shape)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class SoftplusGenerator(nn.Module):
    """Noise z (n, latent) -> images (n, *shape) in [-1, 1]: the generator beside `ClassCritic`.

    Two hidden layers of ``width`` units with batch norm (shifted, not scaled) and softplus, then a layer with weight
    normalisation and a sigmoid for each pixel.
    """

    def __init__(self, shape: Sequence[int], latent: int = 100, width: int = 500) -> None:
        super().__init__()
        self.shape, self.latent = tuple(shape), latent
        layers: list[nn.Module] = []
        for before in (latent, width):
            norm = nn.BatchNorm1d(width)
            norm.weight.requires_grad_(False)
            layers += [nn.Linear(before, width, bias=False), norm, nn.Softplus()]
        self.layers = nn.Sequential(*layers, WeightNormLinear(width, math.prod(self.shape), learn_length=True))

    def forward(self, z: Tensor) -> Tensor:
        return (2 * self.layers(z).sigmoid() - 1).unflatten(1, self.shape)


def pixels(x: Tensor) -> Tensor:
    """Images in [-1, 1] as rows of numbers from 0 to 1."""
    return (x.flatten(1) + 1) / 2
