"""Paired translation whose discriminator looks at the output alone, with a loss on gradients (Nie et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import l1_loss

from medgan_lib.methods.base import decay_, frozen
from medgan_lib.methods.translation import Pix2Pix, judge
from medgan_lib.objectives import OBJECTIVES, gradient_difference


class GradientDifferenceGAN(Pix2Pix):
    """Paired translation as Nie et al. (2017) have it: D asks whether an image looks real, not whether it fits y.

    `Pix2Pix` with two changes: D maps single images x to logits, and G also minimises ``lambda3`` times the difference
    of its image's gradients and the reference's (`objectives.gradient_difference`). Left out are the paper's
    auto-context, a chain of such networks, and 3-D patches. Raises ValueError as `Pix2Pix`, for lambda1 = 0, without
    which there is no game to change, and for lambda3 < 0.
    """

    def __init__(
        self, G: nn.Module, D: nn.Module, objective: str = "gan-ma", *, lambda3: float = 0.0, **options
    ) -> None:
        super().__init__(G, D, objective, **options)
        if not self.lambda1:
            raise ValueError("lambda1 must be above 0: without a game, take Pix2Pix")
        if lambda3 < 0:
            raise ValueError(f"lambda3 must be 0 or more, not {lambda3}")
        self.lambda3 = lambda3

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
