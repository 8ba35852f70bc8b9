"""A Laplacian pyramid of conditional GANs (Denton et al. 2015; review Sec. 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from medgan_lib.methods.base import Method
from medgan_lib.methods.gan import GAN
from medgan_lib.networks import batched, placed


def down(x: Tensor) -> Tensor:
    """d: half the size (n, c, 2 h, 2 w) -> (n, c, h, w), by the mean of 2 x 2 pixels."""
    return F.avg_pool2d(x, 2)


def up(x: Tensor) -> Tensor:
    """u: twice the size (n, c, h, w) -> (n, c, 2 h, 2 w), bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """The bands h_k = I_k - u(I_{k+1}) from fine to coarse, and after them the coarsest image I_K, K = ``levels``.

    x (n, c, h, w), whose sizes are multiples of 2^levels, else ValueError. `collapse` gives x back.
    """
    if levels < 0 or any(size % (1 << levels) for size in x.shape[2:]):
        raise ValueError(f"{tuple(x.shape[2:])} pixels can't be halved {levels} times: crop, pad or resample")
    bands = []
    for _ in range(levels):
        coarse = down(x)
        bands.append(x - up(coarse))
        x = coarse
    return [*bands, x]


def collapse(bands: Sequence[Tensor]) -> Tensor:
    """The image of a `pyramid`: from the coarsest, I_k = u(I_{k+1}) + h_k."""
    *fine, x = bands
    for h in reversed(fine):
        x = up(x) + h
    return x


class Band(GAN):
    """The GAN of one level: G(z, l) and D(h, l) make and judge the band h that the coarse image l lacks.

    ``batch["x"]`` are real bands h_k and ``batch["l"]`` their up-sampled coarse images u(I_{k+1}), both (n, c, s, s).
    """

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return (batch["l"],)

    def sample_on(
        self, l: Tensor, generator: torch.Generator | None = None, *, device: str | torch.device = "auto"
    ) -> Tensor:
        """One band for each coarse image l (n, c, s, s), made 256 at a time as in `GAN.sample`, on l's device."""
        z = self.noise(len(l), generator)
        with placed(device, self.sampler):
            return batched(self.sampler, (z, l)).to(l.device)


class LAPGAN(Method):
    """A GAN for the coarsest image and a `Band` for each finer level; they share a step and nothing else.

    ``coarsest`` is any GAN for images of size s; ``bands`` are levels for 2 s, 4 s, ..., from coarse to fine. Each
    learns on real coarse images and is sampled on generated ones. Raises ValueError for no band, or levels that deal
    out their samples differently (n_critic).
    """

    def __init__(self, coarsest: GAN, bands: Sequence[Band]) -> None:
        super().__init__()
        self.levels = nn.ModuleList([coarsest, *bands])
        if len(self.levels) < 2:
            raise ValueError("a pyramid needs at least one band")
        if len({level.draws for level in self.levels}) > 1:
            raise ValueError("all levels must have the same n_critic")
        self.draws = coarsest.draws

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of every level on the same images ``batch["x"]`` (n, c, size, size).

        Returns each level's history, its names with the size of its images, such as "loss_D_32".
        """
        *bands, x = pyramid(batch["x"], len(self.levels) - 1)
        losses = named(self.levels[0].step({"x": x}), x)
        for level, h in zip(self.levels[1:], reversed(bands), strict=True):
            l = up(x)
            losses |= named(level.step({"x": h, "l": l}), h)
            x = l + h
        return losses

    def sample(
        self, n: int, generator: torch.Generator | None = None, *, device: str | torch.device = "auto"
    ) -> Tensor:
        """n images of the finest level, made on ``device`` as by `GAN.sample`, on the CPU."""
        return self.sample_levels(n, generator, device=device)[-1]

    def sample_levels(
        self, n: int, generator: torch.Generator | None = None, *, device: str | torch.device = "auto"
    ) -> list[Tensor]:
        """The same n images at every level, from coarse to fine: each is u(the one before) + a generated band."""
        images = [self.levels[0].sample(n, generator, device=device)]
        for level in self.levels[1:]:
            l = up(images[-1])
            images.append(l + level.sample_on(l, generator, device=device))
        return images

    def optimizers(self) -> dict[str, Optimizer]:
        return {f"{name}_{k}": o for k, level in enumerate(self.levels) for name, o in level.optimizers().items()}

    def networks(self) -> dict[str, nn.Module]:
        return {f"{name}_{k}": net for k, level in enumerate(self.levels) for name, net in level.networks().items()}


def named(losses: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    return {f"{name}_{x.shape[-1]}": value for name, value in losses.items()}
