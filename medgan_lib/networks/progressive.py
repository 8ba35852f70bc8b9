"""What generator and critic share that grow from a few pixels to a whole image (Karras et al. 2018; review Sec. 2.4).

Both hold the layers of every resolution from the start, so that optimizers, averages and checkpoints know them all;
`Growing.grow` says which are in use. The two networks are in `networks.progan`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


def pixel_norm(x: Tensor) -> Tensor:
    """Every pixel's features are divided by their root mean square."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def repeated(x: Tensor) -> Tensor:
    """Twice the size, every pixel repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def halved(x: Tensor) -> Tensor:
    """Half the size, by the mean of 2 x 2 pixels."""
    return F.avg_pool2d(x, 2)
