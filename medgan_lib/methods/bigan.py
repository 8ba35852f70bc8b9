"""BiGAN: a GAN with an encoder (review Sec. 2.2; Donahue, Krähenbühl and Darrell 2017)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from medgan_lib.methods.base import adam, frozen
from medgan_lib.methods.gan import GAN
from medgan_lib.networks import batched, placed
from medgan_lib.objectives import OBJECTIVES, clip_weights_


class BiGAN(GAN):
    """G and an encoder E play together against a D that sees pairs.

    min over G and E, max over D: E[log D(x, E(x))] + E[log(1 - D(G(z), z))]. At the optimum D cannot tell the pairs
    apart, and then E and G are each other's inverse. E maps samples to codes (n, G.latent), D maps (x, z) to logits.
    ``objective`` is "gan-ma", "lsgan" or "wgan" of Table 1; E and G descend D's own loss with the two kinds of pairs
    exchanged, as in the paper. ``options`` are those of `GAN`, without the penalty of Eq. 4, which is about one sample
    and not about pairs. Raises ValueError for other objectives, a penalty, and as `GAN` does.
    """

    averaged = ("G", "E")

    def __init__(self, G: nn.Module, E: nn.Module, D: nn.Module, objective: str = "gan-ma", **options: Any) -> None:
        if objective not in ("gan-ma", "lsgan", "wgan"):
            raise ValueError(f"objective {objective!r} isn't played with pairs here; there are gan-ma, lsgan, wgan")
        super().__init__(G, D, objective, **options)
        if self.penalty:
            raise ValueError(f"penalty must be 0 for pairs, not {self.penalty}")
        self.E = E
        self.opt_G = adam(nn.ModuleList([G, E]), self.lr, self.betas)
        if self.ema:
            self.E_ema = copy.deepcopy(E).requires_grad_(False).eval()

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        """E and G need the real samples for their update, too."""
        return (batch["x"],)

    def update_D(self, x: Tensor, *_: Tensor) -> dict[str, Tensor]:
        """One descent step of D: (x, E(x)) against (G(z), z)."""
        z = self.noise(len(x))
        with torch.no_grad():
            fake, code = self.G(z), self.E(x)
        of_data, of_noise = self.judge(x, fake, code, z)
        loss = OBJECTIVES[self.objective].discriminator(of_data, of_noise)
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        if self.clip is not None:
            clip_weights_(self.D, self.clip)
        return {"loss_D": loss.detach(), "wasserstein": (of_data.mean() - of_noise.mean()).detach()}

    def judge(self, x: Tensor, fake: Tensor, code: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """D on the pairs (x, code) and (fake, z), in one pass if it looks at each pair by itself."""
        if not getattr(self.D, "per_sample", False):
            return self.D(x, code), self.D(fake, z)
        return self.D(torch.cat([x, fake]), torch.cat([code, z])).chunk(2)

    def update_G(self, n: int, x: Tensor) -> dict[str, Tensor]:
        """One descent step of E and G together on D's loss with the pairs exchanged."""
        z = self.noise(n)
        with frozen(self.D):
            of_data, of_noise = self.judge(x, self.G(z), self.E(x), z)
            loss = OBJECTIVES[self.objective].discriminator(of_noise, of_data)
            self.opt_G.zero_grad()
            loss.backward()
        self.opt_G.step()
        if self.ema:
            self._average()
        return {"loss_G": loss.detach()}

    def encode(self, x: Tensor, *, device: str | torch.device = "auto") -> Tensor:
        """E(x) (n, G.latent) in evaluation mode, of the averaged encoder where there is one, 256 at a time.

        E runs on ``device`` as `networks.chosen_device` has it; the codes are where x is.
        """
        E = self.E_ema if self.ema else self.E
        with placed(device, E):
            return batched(E, x)
