"""Image domain translation with paired and with unpaired images (review Sec. 3, Eqs. 6-8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam, checked_decay, decay_, frozen
from medgan_lib.networks import batched, placed
from medgan_lib.objectives import OBJECTIVES, gradient_penalty


class Translation(Method):
    """What translating methods share: a generator G from domain A to domain B, and `translate`.

    Batches hold "y", images in A, and "x", images in B, both (n, channels, *size) in [-1, 1].
    """

    G: nn.Module

    def translate(self, y: Tensor, batch_size: int = 64, *, device: str | torch.device = "auto") -> Tensor:
        """G(y) for images y (n, channels, *size) in evaluation mode, ``batch_size`` at a time, on y's device.

        G runs on ``device`` as `networks.chosen_device` has it.
        """
        with placed(device, self.G):
            return batched(self.G, y, batch_size)


class Pix2Pix(Translation):
    """Translation with paired images (Eq. 6; Isola et al. 2017).

    G maps y to an image like its reference x', D maps an image and the y it belongs to, D(x, y), to logits of any
    shape. ``lambda1`` weighs the game and ``lambda2`` the voxel-wise L1 distance to the reference; with lambda1 = 0
    there is no D in the game, and D may be None. ``objective`` names the row of Table 1: "gan" is Eq. 6 to the
    letter, with "gan-ma" (the default, as in the paper) G gets the loss of Eq. 2. ``lr`` and ``betas`` are Adam's;
    ``decay`` = (first, last) brings the learning rates linearly to 0 between these two steps.
    Raises ValueError for an unknown objective, a negative weight, two weights of 0, no D with lambda1 > 0, or a decay
    that makes no sense.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module | None,
        objective: str = "gan-ma",
        *,
        lambda1: float = 1.0,
        lambda2: float = 100.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        decay: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        if min(lambda1, lambda2) < 0 or not lambda1 + lambda2:
            raise ValueError(f"lambda1 and lambda2 must be 0 or more and not both 0, not {lambda1} and {lambda2}")
        if lambda1 and D is None:
            raise ValueError("lambda1 > 0 weighs a game, which needs a D")
        self.G, self.D = G, D
        self.objective, self.lambda1, self.lambda2, self.lr, self.betas = objective, lambda1, lambda2, lr, betas
        self.decay = checked_decay(decay)
        self.opt_G = adam(G, lr, betas)
        self.opt_D = adam(D, lr, betas) if lambda1 else None

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D and one of G on the same pairs. Returns "loss_G" (all of it), "l1", and with a game
        "loss_D" (without lambda1)."""
        x, y = batch["x"], batch["y"]
        fake = self.G(y)
        history = {}
        if self.lambda1:
            history["loss_D"] = self.update_D(x, fake.detach(), y)
        l1 = l1_loss(fake, x)
        loss = self.lambda2 * l1
        if self.lambda1:
            with frozen(self.D):
                loss = loss + self.lambda1 * OBJECTIVES[self.objective].generator(self.D(fake, y))
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        decay_(self.optimizers().values(), self.decay)
        return {"loss_G": loss.detach(), "l1": l1.detach()} | history

    def update_D(self, x: Tensor, fake: Tensor, y: Tensor) -> Tensor:
        """One descent step of D on lambda1 times its loss in Table 1; returns that loss."""
        real_logits, fake_logits = judge(self.D, x, fake, y)
        loss = OBJECTIVES[self.objective].discriminator(real_logits, fake_logits)
        self.opt_D.zero_grad()
        (self.lambda1 * loss).backward()
        self.opt_D.step()
        return loss.detach()

    def optimizers(self) -> dict[str, Optimizer]:
        return {"G": self.opt_G} | ({"D": self.opt_D} if self.lambda1 else {})


class SelfRegularisedGAN(Translation):
    """Translation without pairs: Eq. 7, and with ``lam`` > 0 the self-regularisation of Eq. 8 (Shrivastava 2017).

    G maps y to an image of domain B, D maps single images to logits of any shape; ``lam`` weighs the L1 distance
    between an image and its translation. The x of a batch need not belong to its y. With "wgan-gp" D has the penalty of
    Eq. 4, of weight 10. Options as in `Pix2Pix`. Raises ValueError for an unknown objective, lam < 0, or a decay that
    makes no sense.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        objective: str = "gan-ma",
        *,
        lam: float = 0.0,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        decay: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        if lam < 0:
            raise ValueError(f"lam must be 0 or more, not {lam}")
        self.G, self.D = G, D
        self.objective, self.lam, self.lr, self.betas = objective, lam, lr, betas
        self.decay = checked_decay(decay)
        self.opt_G, self.opt_D = adam(G, lr, betas), adam(D, lr, betas)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D and one of G. Returns "loss_D" (with its penalty), "loss_G" (all of it) and "l1",
        ||y - G(y)|| a voxel."""
        x, y = batch["x"], batch["y"]
        fake = self.G(y)
        loss_D = self.update_D(x, fake.detach())
        l1 = l1_loss(fake, y)
        with frozen(self.D):
            loss = OBJECTIVES[self.objective].generator(self.D(fake)) + self.lam * l1
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        decay_(self.optimizers().values(), self.decay)
        return {"loss_D": loss_D, "loss_G": loss.detach(), "l1": l1.detach()}

    def update_D(self, x: Tensor, fake: Tensor) -> Tensor:
        """One descent step of D on its loss in Table 1, with the penalty of Eq. 4 if it has one; returns the loss."""
        loss = OBJECTIVES[self.objective].discriminator(*judge(self.D, x, fake))
        if self.objective == "wgan-gp":
            loss = loss + 10 * gradient_penalty(self.D, x, fake)
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        return loss.detach()

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D, "G": self.opt_G}


def judge(D: nn.Module, x: Tensor, fake: Tensor, *y: Tensor) -> tuple[Tensor, Tensor]:
    """D on real and generated images: in one pass, which is faster, if it looks at each sample by itself."""
    if len(x) != len(fake) or not getattr(D, "per_sample", False):
        return D(x, *y), D(fake, *y)
    return D(torch.cat([x, fake]), *(torch.cat([part, part]) for part in y)).chunk(2)
