"""Progressive growing of G and D (Karras et al. 2018; review Sec. 2.4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib.methods.gan import GAN
from medgan_lib.networks.progressive import Growing, halved, repeated


class ProgressiveGAN(GAN):
    """A GAN whose players grow: ``hold`` steps at the first resolution, ``fade`` + ``hold`` steps at each next one.

    During a fade the newest stage of both counts alpha = 1/(fade+1), 2/(fade+1), ..., and real images are blended with
    their coarser versions alike. The last resolution is held for as long as training goes on. G and D are
    `networks.ProGenerator` and `ProCritic`, of one shape with any number of channels; the rest is `GAN`'s.
    ``batch["x"]`` has the full size.

    ``drift`` E[D(x)^2] is added to what D minimises (0.001 in the paper; "loss_D" is without it), so that D's values,
    of which only differences count, stay near 0. With ``pixels`` > 0 an update at resolution r uses pixels // r images
    at most: minibatches become smaller as images become larger, as in the authors' code. R1 of `GAN`, where it has a
    weight, enters at every ``lazy``-th step only, with ``lazy`` times the weight (Karras et al. 2020, App. B): the same
    force on average for a fraction of the work. Raises ValueError for hold < 1, fade < 0, drift < 0, lazy < 1,
    0 < pixels < the full size, or players that grow differently.
    """

    def __init__(
        self,
        G: Growing,
        D: Growing,
        objective: str = "wgan-gp",
        *,
        fade: int,
        hold: int,
        drift: float = 0.0,
        pixels: int = 0,
        lazy: int = 1,
        **options,
    ) -> None:
        if (G.shape, G.resolutions) != (D.shape, D.resolutions):
            raise ValueError(f"G grows over {G.resolutions} to {G.shape}, D over {D.resolutions} to {D.shape}")
        if hold < 1 or fade < 0:
            raise ValueError(f"hold must be at least 1 and fade at least 0, not {hold} and {fade}")
        if drift < 0:
            raise ValueError(f"drift must be 0 or more, not {drift}")
        if pixels and pixels < G.resolutions[-1]:
            raise ValueError(f"pixels must be 0 or at least {G.resolutions[-1]}, one image, not {pixels}")
        if lazy < 1:
            raise ValueError(f"lazy must be at least 1, not {lazy}")
        super().__init__(G, D, objective, **options)
        self.fade, self.hold, self.drift, self.pixels = fade, hold, drift, pixels
        self.lazy, self.gamma = lazy, self.r1
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_post_hook(ProgressiveGAN._read)
        self._read()

    def schedule(self, step: int) -> tuple[int, float]:
        """Resolution and alpha of the step after ``step`` steps."""
        resolutions = self.G.resolutions
        grown, within = divmod(max(step - self.hold, 0), self.fade + self.hold)
        if step < self.hold:
            return resolutions[0], 1.0
        if grown + 1 >= len(resolutions):
            return resolutions[-1], 1.0
        return resolutions[grown + 1], min((within + 1) / (self.fade + 1), 1.0)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`GAN.step` at the resolution and share of the schedule. Returns the same, and "resolution" and "alpha"."""
        resolution, alpha = self.schedule(self._done)
        for player in self.networks().values():
            player.grow(resolution, alpha)
        parts = batch["x"].chunk(self.n_critic)
        used = len(parts[0]) if not self.pixels else self.pixels // resolution
        losses = super().step(batch | {"x": self.seen(torch.cat([part[:used] for part in parts]))})
        self._done += 1
        self.done += 1
        state = {"resolution": resolution, "alpha": alpha}
        return losses | {name: batch["x"].new_full((), value) for name, value in state.items()}

    def update_D(self, x: Tensor, *y: Tensor) -> dict[str, Tensor]:
        """`GAN.update_D`, with R1 when it is due."""
        self.r1 = 0.0 if self._done % self.lazy else self.lazy * self.gamma
        return super().update_D(x, *y)

    def judge(self, x: Tensor, fake: Tensor, *y: Tensor) -> tuple[Tensor, Tensor]:
        """As in `GAN`; beside it, what ``drift`` adds to the gradients of D.

        The gradient of drift D(x)^2 by D(x) joins, on the way back, the one that the objective sends.
        """
        real, fake = super().judge(x, fake, *y)
        if self.drift and real.requires_grad:
            value = real.detach()
            real.register_hook(lambda slope: slope + 2 * self.drift / len(value) * value)
        return real, fake

    def seen(self, x: Tensor) -> Tensor:
        """Real images (n, c, size, size) as D is to see them now: at its resolution, and blended as G's images are."""
        x = F.avg_pool2d(x, x.shape[-1] // self.D.resolution)
        return x if self.D.alpha == 1 else self.D.blend(repeated(halved(x)), x)

    def _read(self, _: object = None) -> None:
        """After loading: the count for Python, because looking into the buffer would make a GPU wait at every step."""
        self._done = int(self.done)
        for player in self.networks().values():  # so that a new method can be sampled
            player.grow(*self.schedule(max(self._done - 1, 0)))
