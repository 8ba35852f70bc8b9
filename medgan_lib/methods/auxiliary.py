"""A GAN whose discriminator learns to name what it sees (Salimans et al. 2016, Sec. 5; Odena et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from medgan_lib.methods.base import adam, decay_
from medgan_lib.methods.uniform import UniformGAN


class AuxiliaryGAN(UniformGAN):
    """`UniformGAN` with an auxiliary task: a classifier C on the trunk of D learns the labels of real samples.

    G never sees a label or what C says; it only meets a D whose features tell the classes apart. (Odena et al. ask C
    about generated samples as well, of a G that is told the class; Salimans et al. have one output of D a class.)

    D and C are `nn.Sequential` of two parts, whose first, the trunk, is the same module: samples -> features -> logits
    (n,) of D, or (n, classes) of C. C has an optimizer of its own: Adam moves the trunk by about its rate for each of
    the two tasks, where one optimizer of a weighted sum would leave little to the one with the smaller gradient.
    ``lr`` is G's learning rate, ``lr_D`` that of D with the trunk, ``lr_C`` that of what only C has (both ``lr`` unless
    given); the rest is as in `GAN`. ``batch["label"]`` (n,) are integers. Raises ValueError as `GAN` does, for another
    shape of D or C, or for an objective whose critic needs a constraint.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Sequential,
        C: nn.Sequential,
        objective: str = "gan-ma",
        *,
        lr: float = 2e-4,
        lr_D: float | None = None,
        lr_C: float | None = None,
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
        self.C = C
        self.lr_D, self.lr_C = (lr if rate is None else rate for rate in (lr_D, lr_C))
        self.opt_D, self.opt_C = adam(D, self.lr_D, betas), adam(C[0], self.lr_D, betas)
        self.opt_C.add_param_group({"params": list(C[1].parameters()), "lr": self.lr_C})

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D, of G and of C. Returns what the three updates do."""
        x = batch["x"]
        losses = self.update_D(x) | self.update_G(len(x)) | self.update_C(x, batch["label"])
        decay_((self.opt_D, self.opt_G, self.opt_C), self.decay)
        return losses

    def update_C(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """One descent step of C, trunk included, on E[-log C(y | x)] of real samples x. Returns "loss_C"."""
        loss = F.cross_entropy(self.C(x), y)
        self.opt_C.zero_grad()
        loss.backward()
        self.opt_C.step()
        return {"loss_C": loss.detach()}

    def optimizers(self) -> dict[str, Optimizer]:
        return super().optimizers() | {"C": self.opt_C}
