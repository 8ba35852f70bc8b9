"""A text and an image encoder trained together, so that pairs lie close (Radford et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam


class Contrastive(Method):
    """``image`` maps images (n, ...) and ``text`` maps tokens (n, length) to vectors (n, d); both are trained.

    In a minibatch of n pairs each image has to find its own sentence among the n, and each sentence its image: the
    mean of two cross-entropies over the cosine similarities divided by ``temperature``. Equal sentences in one
    minibatch count as each other's wrong answers, which is harmless where they are rare.
    Raises ValueError for temperature <= 0.
    """

    def __init__(self, image: nn.Module, text: nn.Module, *, temperature: float = 0.1, lr: float = 1e-3) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.image, self.text, self.temperature, self.lr = image, text, temperature, lr
        self.opt_image, self.opt_text = adam(image, lr, (0.9, 0.999)), adam(text, lr, (0.9, 0.999))

    def similarity(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Cosines (n, m) of n images and m sentences."""
        return F.normalize(self.image(x), dim=1) @ F.normalize(self.text(tokens), dim=1).T

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One descent step on images ``batch["x"]`` and their sentences ``batch["tokens"]`` (n, length)."""
        logits = self.similarity(batch["x"], batch["tokens"]) / self.temperature
        own = torch.arange(len(logits), device=logits.device)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        for optimizer in self.optimizers().values():
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers().values():
            optimizer.step()
        return {"loss": loss.detach(), "found": (logits.argmax(1) == own).float().mean()}

    def optimizers(self) -> dict[str, Optimizer]:
        return {"image": self.opt_image, "text": self.opt_text}
