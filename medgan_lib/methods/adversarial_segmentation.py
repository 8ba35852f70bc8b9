"""Segmentation with unlabelled images, whose predictions should look like those on labelled ones (review Sec. 5.6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam, frozen
from medgan_lib.networks import batched, placed
from medgan_lib.objectives import OBJECTIVES


class AdversarialSegmentation(Method):
    """Deep adversarial network (Zhang et al. 2017): a segmentation network S and an evaluation network E.

    S maps images (n, channels, *size) to logits of a mask (n, 1, *size). E maps an image with the probabilities that S
    gives its pixels, as one more channel, to a logit of "this image was labelled", of any shape. Batches hold labelled
    images "x" with "mask" (n, 1, *size), 0 or 1, and unlabelled images "u". ``lam`` weighs the game: S makes E take its
    predictions on unlabelled images for predictions on labelled ones; with lam = 0 there is no game, and E may be None.
    It rises linearly to its value over the first ``ramp`` steps, so that E is no beginner when S listens to it; S
    itself had better been trained before. Both lose by cross-entropy. S gets the loss that does not saturate, as in the
    paper. ``lr`` and ``betas`` are Adam's. Raises ValueError for a negative lam or ramp, or no E with lam > 0.
    """

    def __init__(
        self,
        S: nn.Module,
        E: nn.Module | None,
        *,
        lam: float = 0.1,
        ramp: int = 0,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.999),
    ) -> None:
        super().__init__()
        if lam < 0:
            raise ValueError(f"lam must be 0 or more, not {lam}")
        if ramp < 0:
            raise ValueError(f"ramp must be 0 or more, not {ramp}")
        if lam and E is None:
            raise ValueError("lam > 0 weighs a game, which needs an E")
        self.S, self.E = S, E
        self.lam, self.ramp, self.lr, self.betas = lam, ramp, lr, betas
        self.register_buffer("updates", torch.zeros(()))
        self.opt_S = adam(S, lr, betas)
        self.opt_E = adam(E, lr, betas) if lam else None

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of E, if there is a game, and one of S.

        Returns "segmentation", the cross-entropy a pixel on labelled images, and with a game "loss_E", "told_apart",
        the share of images that E gets right, and "loss_S", S's loss in the game, without lam.
        """
        x, mask = batch["x"], batch["mask"]
        labelled = self.S(x)
        loss = segmentation = binary_cross_entropy_with_logits(labelled, mask.to(labelled.dtype))
        history = {"segmentation": segmentation.detach()}
        if self.lam:
            u = batch["u"]
            unlabelled = self.S(u)
            history |= self.update_E(x, labelled.detach(), u, unlabelled.detach())
            with frozen(self.E):
                game = OBJECTIVES["gan-ma"].generator(self.E(seen(u, unlabelled)))
            history["loss_S"] = game.detach()
            loss = segmentation + self.weight() * game
        self.opt_S.zero_grad()
        loss.backward()
        self.opt_S.step()
        return history

    def weight(self) -> Tensor | float:
        """What the game weighs in this step: ``lam``, or less while it rises."""
        self.updates += 1
        return self.lam * (self.updates / self.ramp).clamp(max=1.0) if self.ramp else self.lam

    def update_E(self, x: Tensor, labelled: Tensor, u: Tensor, unlabelled: Tensor) -> dict[str, Tensor]:
        """One descent step of E on -E log E(x, S(x)) - E log(1 - E(u, S(u))), the logits of S given."""
        real, fake = self.E(seen(x, labelled)), self.E(seen(u, unlabelled))
        loss = OBJECTIVES["gan"].discriminator(real, fake)
        self.opt_E.zero_grad()
        loss.backward()
        self.opt_E.step()
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        return {"loss_E": loss.detach(), "told_apart": right}

    def segment(self, x: Tensor, batch_size: int = 32, *, device: str | torch.device = "auto") -> Tensor:
        """Probabilities (n, 1, *size) that pixels are inside, in evaluation mode, ``batch_size`` images at a time.

        S runs on ``device`` as `networks.chosen_device` has it; the result is where x is.
        """
        with placed(device, self.S):
            return batched(self.S, x, batch_size).sigmoid()

    def optimizers(self) -> dict[str, Optimizer]:
        return {"S": self.opt_S} | ({"E": self.opt_E} if self.lam else {})


def seen(x: Tensor, logits: Tensor) -> Tensor:
    """What E sees: images (n, c, *size) and, as one more channel, the probabilities of ``logits`` from -1 to 1."""
    return torch.cat([x, 2 * logits.sigmoid() - 1], 1)
