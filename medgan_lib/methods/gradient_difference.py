"""Paired translation whose discriminator looks at the output alone, with a loss on gradients (Nie et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from medgan_lib.methods.base import adam, checked_decay, decay_, frozen
from medgan_lib.methods.translation import Translation, judge
from medgan_lib.objectives import OBJECTIVES, gradient_difference


class GradientDifferenceGAN(Translation):
    """Paired translation as Nie et al. (2017) have it: D asks whether an image looks real, not whether it fits y.

    G minimises ``lambda1`` times its game of ``objective`` (Table 1), ``lambda2`` times the L1 distance to the
    reference and ``lambda3`` times the difference of their gradients (`objectives.gradient_difference`). D maps single
    images x to logits of any shape. Left out are the paper's auto-context, a chain of such networks, and 3-D patches.
    ``lr`` and ``betas`` are Adam's; ``decay`` as in `Pix2Pix`. Raises ValueError for an unknown objective, a negative
    weight, or a decay that makes no sense.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        objective: str = "gan-ma",
        *,
        lambda1: float = 1.0,
        lambda2: float = 100.0,
        lambda3: float = 0.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        decay: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        if min(lambda1, lambda2, lambda3) < 0:
            raise ValueError(f"weights must be 0 or more, not {lambda1}, {lambda2} and {lambda3}")
        self.G, self.D = G, D
        self.objective, self.lr, self.betas = objective, lr, betas
        self.lambda1, self.lambda2, self.lambda3 = lambda1, lambda2, lambda3
        self.decay = checked_decay(decay)
        self.opt_G, self.opt_D = adam(G, lr, betas), adam(D, lr, betas)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D and one of G on the same pairs. Returns "loss_D", "loss_G" (all of it), "l1" and "edges"."""
        x, y = batch["x"], batch["y"]
        fake = self.G(y)
        loss_D = self.update_D(x, fake.detach())
        l1, edges = l1_loss(fake, x), gradient_difference(fake, x)
        with frozen(self.D):
            game = OBJECTIVES[self.objective].generator(self.D(fake))
        loss = self.lambda1 * game + self.lambda2 * l1 + self.lambda3 * edges
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        decay_(self.optimizers().values(), self.decay)
        return {"loss_D": loss_D, "loss_G": loss.detach(), "l1": l1.detach(), "edges": edges.detach()}

    def update_D(self, x: Tensor, fake: Tensor) -> Tensor:
        """One descent step of D on its loss in Table 1; returns that loss."""
        loss = OBJECTIVES[self.objective].discriminator(*judge(self.D, x, fake))
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        return loss.detach()

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D, "G": self.opt_G}
