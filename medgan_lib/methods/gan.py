"""Generative adversarial networks with any objective of Table 1 (review Sec. 2.1, Eqs. 1-4)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam, checked_decay, decay_, frozen
from medgan_lib.networks import batched, placed
from medgan_lib.objectives import OBJECTIVES, clip_weights_, gradient_penalty, r1_penalty


class GAN(Method):
    """A generator G and a discriminator or critic D that play one game of Table 1.

    G maps z (n, G.latent) to samples, D maps samples to logits or critic values; ``objective`` names the row.
    Each step updates D ``n_critic`` times, every time with its own real samples and noise, then G once. ``penalty``
    is lambda of Eq. 4 (10 for "wgan-gp" unless given, 0 elsewhere; ``one_sided`` spares norms below 1), ``r1`` the
    weight gamma of `r1_penalty`, of which the loss gets gamma/2 (Mescheder et al. 2018). After each of
    its updates D's weights are clipped to [-clip, clip] (0.01 for "wgan" unless given, not at all elsewhere).
    ``ema`` > 0 keeps in ``G_ema`` an exponential moving average of G with that decay, which `sample` then uses.
    ``lr`` and ``betas`` are Adam's, for both players; ``decay`` = (first, last) brings the learning rates linearly to
    0 between these two steps. Raises ValueError for an unknown objective, n_critic < 1, clip <= 0, penalty or r1 < 0,
    ema outside [0, 1), or a decay that makes no sense.
    """

    averaged: tuple[str, ...] = ("G",)
    """Players of which ``<name>_ema`` keeps the average."""

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        objective: str = "gan-ma",
        *,
        n_critic: int = 1,
        penalty: float | None = None,
        clip: float | None = None,
        one_sided: bool = False,
        r1: float = 0.0,
        ema: float = 0.0,
        decay: tuple[int, int] | None = None,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.9),
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        self.G, self.D = G, D
        self.objective = objective
        self.n_critic = self.draws = n_critic
        self.penalty = (10.0 if objective == "wgan-gp" else 0.0) if penalty is None else penalty
        self.clip = 0.01 if clip is None and objective == "wgan" else clip
        self.one_sided, self.r1 = one_sided, r1
        self.ema, self.decay, self.lr, self.betas = ema, checked_decay(decay), lr, betas
        for name, value, sound, allowed in (
            ("n_critic", n_critic, n_critic >= 1, "at least 1"),
            ("penalty", self.penalty, self.penalty >= 0, "0 or more"),
            ("r1", r1, r1 >= 0, "0 or more"),
            ("clip", self.clip, self.clip is None or self.clip > 0, "above 0, or None"),
            ("ema", ema, 0 <= ema < 1, "in [0, 1)"),
        ):
            if not sound:
                raise ValueError(f"{name} must be {allowed}, not {value}")
        self.opt_D, self.opt_G = adam(D, lr, betas), adam(G, lr, betas)
        if ema:
            self.G_ema = copy.deepcopy(G).requires_grad_(False).eval()
            self.register_buffer("updates", torch.zeros(()))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One turn of the game on n_critic minibatches, which ``batch["x"]`` holds one after the other.

        Returns "loss_D" (with the penalty, as Table 1 has it) and "wasserstein", E[D(x)] - E[D(G(z))], of the last
        update of D, "penalty" (Eq. 4's expectation, without lambda) where there is one, and "loss_G".
        """
        x, y = batch["x"], self.condition(batch)
        if len(x) % self.n_critic:
            raise ValueError(f"{len(x)} samples cannot be dealt out to {self.n_critic} updates of D (n_critic)")
        for real, *of_real in zip(*(part.chunk(self.n_critic) for part in (x, *y)), strict=True):
            losses_D = self.update_D(real, *of_real)
        losses = losses_D | self.update_G(len(real), *of_real)
        decay_((self.opt_D, self.opt_G), self.decay)
        return losses

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What both players get beside their input, with as many items as ``batch["x"]``: here nothing."""
        return ()

    def update_D(self, x: Tensor, *y: Tensor) -> dict[str, Tensor]:
        """One descent step of D on its loss in Table 1, then clipping."""
        with torch.no_grad():
            fake = self.G(self.noise(len(x)), *y)
        real_logits, fake_logits = self.judge(x, fake, *y)
        loss = OBJECTIVES[self.objective].discriminator(real_logits, fake_logits)
        difference = real_logits.mean() - fake_logits.mean()
        history = {"wasserstein": difference.detach()}
        if self.penalty:
            penalty = gradient_penalty(self.D, x, fake, *y, one_sided=self.one_sided)
            loss = loss + self.penalty * penalty
            history["penalty"] = penalty.detach()
        if self.r1:
            loss = loss + self.r1 / 2 * r1_penalty(self.D, x, *y)
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        if self.clip is not None:
            clip_weights_(self.D, self.clip)
        return {"loss_D": loss.detach()} | history

    def judge(self, x: Tensor, fake: Tensor, *y: Tensor) -> tuple[Tensor, Tensor]:
        """D on real and on generated samples: in one pass, which is faster, if it looks at each sample by itself."""
        if not getattr(self.D, "per_sample", False):
            return self.D(x, *y), self.D(fake, *y)
        return self.D(torch.cat([x, fake]), *(torch.cat([part, part]) for part in y)).chunk(2)

    def update_G(self, n: int, *y: Tensor) -> dict[str, Tensor]:
        """One descent step of G on its loss in Table 1, on n samples. D passes gradients on and keeps none."""
        with frozen(self.D):
            fake = self.G(self.noise(n), *y)
            loss = OBJECTIVES[self.objective].generator(self.D(fake, *y))
            self.opt_G.zero_grad()
            loss.backward()
        self.opt_G.step()
        if self.ema:
            self._average()
        return {"loss_G": loss.detach()}

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """z (n, G.latent) from the standard normal distribution, on G's device."""
        device = next(self.G.parameters()).device
        where = device if generator is None else generator.device
        return torch.randn(n, self.G.latent, device=where, generator=generator).to(device)

    @property
    def sampler(self) -> nn.Module:
        """The generator to look at: the averaged one where there is one."""
        return self.G_ema if self.ema else self.G

    def sample(
        self, n: int, generator: torch.Generator | None = None, *, device: str | torch.device = "auto"
    ) -> Tensor:
        """n samples of `sampler` in evaluation mode, made 256 at a time; ``generator`` makes them reproducible.

        They are made on ``device`` as `networks.chosen_device` has it, of noise drawn where G is now, and come back on
        the CPU.
        """
        z = self.noise(n, generator)
        with placed(device, self.sampler):
            return batched(self.sampler, z).cpu()

    @torch.no_grad()
    def _average(self) -> None:
        """G_ema <- G_ema + (1 - decay) (G - G_ema), buffers too, and so for every player in `averaged`.

        The decay grows as (1 + t) / (10 + t) up to ``ema``, so that the first, untrained weights are soon forgotten.
        """
        self.updates += 1
        weight = (9 / (10 + self.updates)).clamp_min(1 - self.ema)
        for name in self.averaged:
            averages, values = (getattr(self, n).state_dict().values() for n in (f"{name}_ema", name))
            for average, now in zip(averages, values, strict=True):
                if average.is_floating_point():
                    average.lerp_(now, weight)
                else:
                    average.copy_(now)

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D, "G": self.opt_G}


class DiscriminatorOnly(GAN):
    """The inner maximum of Eqs. 1 and 3: D learns as in `GAN`, and G stands still."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D; returns its losses as `GAN.step` does."""
        losses = self.update_D(batch["x"], *self.condition(batch))
        decay_((self.opt_D,), self.decay)
        return losses

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D}
