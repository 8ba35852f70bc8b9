"""Supervised classification: trains the feature networks that the metrics look through."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam


class Classifier(Method):
    """Trains ``net``, images (n, ...) -> logits (n, classes), with cross-entropy and Adam on ``batch["label"]``.

    With logits of each pixel, (n, classes, *size) as of a `networks.Segmenter`, it learns maps of classes (n, *size).
    """

    def __init__(self, net: nn.Module, *, lr: float = 1e-3) -> None:
        super().__init__()
        self.net, self.lr = net, lr
        self.opt = adam(net, lr, (0.9, 0.999))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One descent step on images ``batch["x"]`` and their int64 classes ``batch["label"]``."""
        logits, label = self.net(batch["x"]), batch["label"]
        loss = cross_entropy(logits, label)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"loss": loss.detach(), "accuracy": (logits.argmax(1) == label).float().mean()}

    def optimizers(self) -> dict[str, Optimizer]:
        return {"net": self.opt}
