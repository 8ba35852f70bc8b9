"""Super-resolution with a content loss in feature space and an adversary (Ledig et al. 2017; review Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.optim import Optimizer

from medgan_lib.methods.base import adam, checked_decay, decay_, frozen
from medgan_lib.methods.translation import Translation, judge
from medgan_lib.objectives import OBJECTIVES


class FeatureMaps(nn.Module):
    """phi: images (n, channels, *size) -> what ``layers`` make of them, each channel divided by its spread.

    The spread (standard deviation over ``examples`` and places) makes content losses in different feature spaces
    comparable, so that one lambda serves trained and random features. The layers are frozen and stay in evaluation mode
    whatever the method around them does. ValueError where channels do not vary over the examples.
    """

    def __init__(self, layers: nn.Module, examples: Tensor) -> None:
        super().__init__()
        self.layers = layers.requires_grad_(False)
        self.eval()
        with torch.no_grad():
            maps = self.layers(examples)
        spread = maps.transpose(0, 1).flatten(1).std(1)
        if not spread.min() > 0:
            raise ValueError(f"{int((spread == 0).sum())} feature channels are the same for every example")
        self.register_buffer("scale", 1 / spread.reshape(1, -1, *[1] * (maps.ndim - 2)))

    def train(self, mode: bool = True) -> FeatureMaps:
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * self.scale


class SRGAN(Translation):
    """From low-resolution images y to high-resolution ones x: l = mu l_X + lambda l_Gen.

    l_X is the content loss. With ``phi`` it is the mean squared difference between phi(x) and phi(G(y)); without, that
    between the images, or with ``distance`` "l1" the mean absolute one. l_Gen is the generator's loss in a game with D,
    which sees single images. ``mu`` = 0 leaves the adversary alone, ``lam`` = 0 the content loss, and D may then be
    None. ``lr`` and ``betas`` are Adam's, ``lr_D`` is D's own rate where it has one; ``decay`` = (first, last) brings
    the rates linearly to 0 between these two steps. ValueError for an unknown objective or distance, a negative weight,
    two weights of 0, no D with lam > 0, or a decay that makes no sense.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module | None,
        phi: nn.Module | None = None,
        objective: str = "gan-ma",
        *,
        distance: str = "l2",
        mu: float = 1.0,
        lam: float = 1e-3,
        lr: float = 1e-4,
        lr_D: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        decay: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        if distance not in DISTANCES:
            raise ValueError(f"unknown distance {distance!r}; there are {', '.join(DISTANCES)}")
        if min(mu, lam) < 0 or not mu + lam:
            raise ValueError(f"mu and lam must be 0 or more and not both 0, not {mu} and {lam}")
        if lam and D is None:
            raise ValueError("lam > 0 weighs a game, which needs a D")
        self.G, self.D, self.phi = G, D, phi
        self.objective, self.distance, self.mu, self.lam, self.lr, self.betas = objective, distance, mu, lam, lr, betas
        self.decay = checked_decay(decay)
        self.opt_G = adam(G, lr, betas)
        self.lr_D = lr if lr_D is None else lr_D
        self.opt_D = adam(D, self.lr_D, betas) if lam else None

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D and one of G. Returns "loss_G" (all of it), "content" (l_X), and with lam > 0 "loss_D"."""
        x, y = batch["x"], batch["y"]
        fake = self.G(y)
        history = {"loss_D": self.update_D(x, fake.detach())} if self.lam else {}
        content = self.content(fake, x)
        loss = self.mu * content
        if self.lam:
            with frozen(self.D):
                loss = loss + self.lam * OBJECTIVES[self.objective].generator(self.D(fake))
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        decay_(self.optimizers().values(), self.decay)
        return {"loss_G": loss.detach(), "content": content.detach()} | history

    def content(self, fake: Tensor, x: Tensor) -> Tensor:
        """l_X between images (n, channels, *size), a scalar."""
        if self.phi is not None:
            fake, x = self.phi(fake), self.phi(x)
        return DISTANCES[self.distance](fake, x)

    def update_D(self, x: Tensor, fake: Tensor) -> Tensor:
        """One descent step of D on its loss in Table 1; returns that loss."""
        loss = OBJECTIVES[self.objective].discriminator(*judge(self.D, x, fake))
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        return loss.detach()

    def optimizers(self) -> dict[str, Optimizer]:
        return {"G": self.opt_G} | ({"D": self.opt_D} if self.lam else {})

    def networks(self) -> dict[str, nn.Module]:
        """G and D: phi stays in float32, because the content loss is about small differences of its values."""
        return {"G": self.G} | ({} if self.D is None else {"D": self.D})


DISTANCES = {"l1": l1_loss, "l2": mse_loss}
