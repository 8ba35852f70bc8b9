"""A GAN whose discriminator learns to name what it sees (Salimans et al. 2016, Sec. 5; Odena et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_lib.methods.base import adam, decay_
from medgan_lib.methods.uniform import UniformGAN
from medgan_lib.objectives import OBJECTIVES


class AuxiliaryGAN(UniformGAN):
    """`UniformGAN` with an auxiliary task: a classifier C on the trunk of D learns the labels of real samples.

    G never sees a label or what C says; it only meets a D whose features tell the classes apart. (Odena et al. ask C
    about generated samples as well, of a G that is told the class; Salimans et al. have one output of D a class.)

    D and C are `nn.Sequential` of two parts, whose first, the trunk, is the same module: samples -> features -> logits
    (n,) of D, or (n, classes) of C. D's loss in Table 1 gets ``weight`` times the cross-entropy of C. ``lr`` is G's
    learning rate, ``lr_D`` that of D and C (``lr`` unless given); the rest is as in `GAN`. ``batch["label"]`` (n,) are
    integers. Raises ValueError as `GAN` does, for another shape of D or C, an objective whose critic needs a
    constraint, or a weight below 0.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Sequential,
        C: nn.Sequential,
        objective: str = "gan-ma",
        *,
        weight: float = 1.0,
        lr: float = 2e-4,
        lr_D: float | None = None,
        betas: tuple[float, float] = (0.5, 0.9),
        ema: float = 0.0,
        decay: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(G, D, objective, lr=lr, betas=betas, ema=ema, decay=decay)
        if objective in ("wgan", "wgan-gp"):
            raise ValueError(f"{objective!r} needs clipping or a penalty, which an AuxiliaryGAN does not have")
        if not (isinstance(D, nn.Sequential) and isinstance(C, nn.Sequential) and len(D) == len(C) == 2):
            raise ValueError("D and C must be nn.Sequential of two parts, trunk and head")
        if D[0] is not C[0]:
            raise ValueError("D and C must share their first part, the trunk")
        if weight < 0:
            raise ValueError(f"weight must be 0 or more, not {weight}")
        self.C, self.weight = C, weight
        self.lr_D = lr if lr_D is None else lr_D
        self.opt_D = adam(D, self.lr_D, betas)
        self.opt_D.add_param_group({"params": list(C[1].parameters()), "lr": self.lr_D})

    def further_calls(self) -> list[tuple[nn.Module, str]]:
        return [(self.D, "0"), (self.D, "1"), (self.C, "1")]

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D with C, then one of G. Returns what `update_D` and `update_G` do."""
        losses = self.update_D(batch["x"], batch["label"]) | self.update_G(len(batch["x"]))
        decay_((self.opt_D, self.opt_G), self.decay)
        return losses

    def update_D(self, x: Tensor, *y: Tensor) -> dict[str, Tensor]:
        """One descent step of D and C on D's loss in Table 1 + weight E[-log C(y | x)], on real samples with their
        labels y and as many generated ones.

        Returns "loss_D" and "wasserstein" as `GAN.update_D` does, of the game alone, and "loss_C".
        """
        (label,) = y
        with torch.no_grad():
            fake = self.G(self.noise(len(x)))
        features = self.D[0](x)
        real_logits, fake_logits = self.D[1](features), self.D(fake)
        loss = OBJECTIVES[self.objective].discriminator(real_logits, fake_logits)
        loss_C = F.cross_entropy(self.C[1](features), label)
        self.opt_D.zero_grad()
        (loss + self.weight * loss_C).backward()
        self.opt_D.step()
        difference = real_logits.mean() - fake_logits.mean()
        return {"loss_D": loss.detach(), "wasserstein": difference.detach(), "loss_C": loss_C.detach()}
