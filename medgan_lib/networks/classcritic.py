"""A discriminator that is a classifier as well (review Sec. 5.6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .images import checked_shape, downsampling, flat_size, matching
from .minibatch import MinibatchDiscrimination
from .mlp import initialise


class GaussianNoise(nn.Module):
    """Adds noise of standard deviation ``sigma`` while training; in evaluation it does nothing."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x) if self.training else x

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class ClassCritic(nn.Module):
    """Images (n, *shape) -> K logits (n, K), one for each class, with ``features`` (n, 8 ``width``) before them.

    Three convolutions of stride 2 and two dense layers, with LeakyReLU(0.2) between and no normalisation. As in
    Salimans et al. 2016 few labels are stretched by noise: Gaussian of standard deviation ``noise`` on the image, and
    dropout of ``dropout`` before each dense layer, both only in training. ``similarities`` > 0 puts minibatch
    discrimination before the last layer; the output for one image then depends on the others of its batch, and the
    network is not ``per_sample``. Raises ValueError for an unsupported shape, fewer than two classes, and images of
    another shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        width: int = 32,
        *,
        noise: float = 0.3,
        dropout: float = 0.5,
        similarities: int = 0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, not {classes}: there is nothing to tell apart")
        self.shape, self.classes, self.per_sample = checked_shape(shape), classes, not similarities
        hidden = 8 * width
        self.layers = nn.Sequential(
            GaussianNoise(noise),
            *downsampling(self.shape, width),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(flat_size(self.shape, width), hidden),
            nn.LeakyReLU(0.2),
        )
        alike = [MinibatchDiscrimination(hidden, similarities)] if similarities else []
        self.head = nn.Sequential(nn.Dropout(dropout), *alike, nn.Linear(hidden + similarities, classes))
        initialise(self)

    def features(self, x: Tensor) -> Tensor:
        return self.layers(matching(x, self.shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
