"""Generator and critic that grow together from a few pixels to a whole image (Karras et al. 2018; review Sec. 2.4).

Both hold the layers of every resolution from the start, so that optimizers, averages and checkpoints know them all;
`Growing.grow` says which are in use. The paper's stage has two convolutions; here it has one, which keeps its idea and
halves its cost. Its pixel norm is kept, its equalised learning rate and minibatch statistics are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import ResizeConv, matching
from .mlp import initialise


class Growing(nn.Module):
    """A network in use at ``resolution``, the newest of whose stages counts with the share ``alpha``.

    ``shape`` is (channels, size, size) of the fully grown network and ``start`` the first resolution; ``resolutions``
    lists all. Resolution and share are kept in a buffer, so checkpoints and averages hold them. A new network is fully
    grown. Raises ValueError for a size that isn't ``start`` doubled once or more.
    """

    def __init__(self, shape: Sequence[int], width: int, most: int, start: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        channels, *size = shape
        stages = max(size[0] // start, 1).bit_length() - 1
        if len(size) != 2 or size[0] != size[1] or channels < 1 or stages < 1 or start << stages != size[0]:
            raise ValueError(
                f"shape {self.shape} is not supported: it must be (channels, size, size) with a size of {start} "
                "doubled once or more; crop, pad or resample"
            )
        self.resolutions = tuple(start << stage for stage in range(stages + 1))
        self.widths = tuple(min(width * size[0] // resolution, most) for resolution in self.resolutions)
        self.register_buffer("growth", torch.zeros(2))
        self.register_load_state_dict_post_hook(Growing._read)
        self.grow(size[0])

    def grow(self, resolution: int, alpha: float = 1.0) -> None:
        """Use the stages up to ``resolution``, the newest one blended in with the share ``alpha``, 0 to 1.

        Raises ValueError for a resolution that the network hasn't, and for a share outside [0, 1], or below 1 at the
        first resolution, which nothing precedes.
        """
        if resolution not in self.resolutions:
            raise ValueError(f"resolution {resolution} is not one of {', '.join(map(str, self.resolutions))}")
        if not 0 <= alpha <= 1 or (alpha < 1 and resolution == self.resolutions[0]):
            raise ValueError(f"alpha {alpha} at resolution {resolution}: must be in [0, 1], and 1 at the first size")
        self.resolution, self.alpha = resolution, float(alpha)
        for place, value in zip(self.growth, (resolution, alpha), strict=True):
            place.fill_(value)  # an assignment by index would make a GPU wait

    def _read(self, _: object = None) -> None:
        """After loading: numbers for Python, because looking into the buffer would make a GPU wait at every pass."""
        resolution, alpha = self.growth.tolist()
        self.resolution, self.alpha = int(resolution), alpha

    @property
    def stage(self) -> int:
        """Index of the newest stage in use."""
        return self.resolutions.index(self.resolution)

    def blend(self, old: Tensor, new: Tensor) -> Tensor:
        """(1 - alpha) old + alpha new, exact at both ends."""
        return (1 - self.alpha) * old + self.alpha * new


class GrowingGenerator(Growing):
    """Noise z (n, latent) -> images (n, channels, resolution, resolution) in [-1, 1].

    The finest map has ``width`` channels, each coarser one twice as many, at most ``most``. While a stage is blended
    in, the image is (1 - alpha) of the coarser stage's image with every pixel repeated, and alpha of the new one's.
    """

    def __init__(
        self, shape: Sequence[int], latent: int = 64, width: int = 16, *, most: int = 512, start: int = 4
    ) -> None:
        super().__init__(shape, width, most, start)
        self.latent = latent
        first = self.widths[0]
        self.project = nn.Sequential(nn.Linear(latent, first * start**2), nn.Unflatten(1, (first, start, start)))
        self.stages = nn.ModuleList(ResizeConv(2, before, after) for before, after in pairwise(self.widths))
        self.to_image = nn.ModuleList(nn.Conv2d(width, self.shape[0], 1) for width in self.widths)
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        x = older = pixel_norm(F.leaky_relu(self.project(z), 0.2))
        for stage in self.stages[: self.stage]:
            x, older = pixel_norm(F.leaky_relu(stage(x), 0.2)), x
        image = torch.tanh(self.to_image[self.stage](x))
        if self.alpha == 1:
            return image
        return self.blend(repeated(torch.tanh(self.to_image[self.stage - 1](older))), image)


class GrowingCritic(Growing):
    """Images (n, channels, resolution, resolution) -> one number a sample (n,); the mirror of `GrowingGenerator`.

    While a stage is blended in, its output counts alpha, and what the coarser stage makes of the averaged image
    1 - alpha. Raises ValueError for images of another resolution than the present one.
    """

    per_sample = True

    def __init__(self, shape: Sequence[int], width: int = 16, *, most: int = 512, start: int = 4) -> None:
        super().__init__(shape, width, most, start)
        self.from_image = nn.ModuleList(nn.Conv2d(self.shape[0], width, 1) for width in self.widths)
        self.stages = nn.ModuleList(
            nn.Conv2d(after, before, 4, stride=2, padding=1) for before, after in pairwise(self.widths)
        )
        self.dense = nn.Linear(self.widths[0] * start**2, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        matching(x, (self.shape[0], self.resolution, self.resolution))
        newest = self.stage
        features = F.leaky_relu(self.from_image[newest](x), 0.2)
        for i in reversed(range(newest)):
            features = F.leaky_relu(self.stages[i](features), 0.2)
            if i == newest - 1 and self.alpha < 1:
                features = self.blend(F.leaky_relu(self.from_image[i](halved(x)), 0.2), features)
        return self.dense(features.flatten(1)).squeeze(1)


def pixel_norm(x: Tensor) -> Tensor:
    """Every pixel's features are divided by their root mean square."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def repeated(x: Tensor) -> Tensor:
    """Twice the size, every pixel repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def halved(x: Tensor) -> Tensor:
    """Half the size, by the mean of 2 x 2 pixels."""
    return F.avg_pool2d(x, 2)
