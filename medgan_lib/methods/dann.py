"""Domain adaptation by an adversary in feature space: DANN (review Sec. 4, Fig. 7, Eq. 9; Ganin et al. 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from medgan_lib.methods.base import Method
from medgan_lib.objectives import OBJECTIVES


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, lam: Tensor) -> Tensor:
        ctx.save_for_backward(lam)
        return h.view_as(h)  # not h itself, which autograd would take for an unchanged input

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (lam,) = ctx.saved_tensors
        return -lam * gradient, None


def reverse(h: Tensor, lam: float | Tensor) -> Tensor:
    """The gradient reversal layer: h of any shape as it is; on the way back its gradient is multiplied by -``lam``.

    Source: Ganin et al. 2016, Sec. 4.2. ``lam`` is a number, or a tensor without dimensions, which gets no gradient.
    """
    return _Reversal.apply(h, torch.as_tensor(lam, dtype=h.dtype, device=h.device))


def domain_loss(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Eq. 9 from the logits of D, each of any shape: the loss of a GAN's discriminator whose real samples are S.

    Each expectation is a mean by itself, so that a domain weighs the same however many logits it has.
    """
    return OBJECTIVES["gan"].discriminator(source_logits, target_logits)


def annealed(p: float) -> float:
    """(1 + 10 p) ** -0.75 at progress p from 0 to 1: what is left of the learning rate in Ganin et al. 2016."""
    return (1 + 10 * p) ** -0.75


def schedule(p: Tensor, slope: float = 10.0) -> Tensor:
    """2 / (1 + exp(-``slope`` p)) - 1 at progress p from 0 to 1: the weight of the adversary in Ganin et al. 2016."""
    return torch.tanh(slope * p / 2)


class Primary(nn.Module):
    """The primary network F(x) = C(H(x)) of Fig. 7, with ``features`` H(x), for `Classifier` and for `metrics`."""

    def __init__(self, H: nn.Module, C: nn.Module) -> None:
        super().__init__()
        self.H, self.C = H, C

    def features(self, x: Tensor) -> Tensor:
        return self.H(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.C(self.H(x))


class LabelsOnly(Method):
    """The primary network without an adversary: H and C learn from labelled images alone, with DANN's optimizer.

    On images of the source it is the control "source only", on images of the target "target-trained". Gradient descent
    with momentum; with ``anneal`` > 0 the learning rate falls over so many steps along `annealed`, as in the paper.
    Raises ValueError for anneal < 0.
    """

    def __init__(
        self, H: nn.Module, C: nn.Module, *, lr: float = 0.01, momentum: float = 0.9, anneal: int = 0
    ) -> None:
        super().__init__()
        if anneal < 0:
            raise ValueError(f"anneal must be 0 or more steps, not {anneal}")
        self.H, self.C = H, C
        self.lr, self.momentum, self.anneal = lr, momentum, anneal
        self.opt = SGD(self.parameters(), lr=lr, momentum=momentum)

    @property
    def primary(self) -> Primary:
        """F = C after H, with the networks themselves: what remains when training is over."""
        return Primary(self.H, self.C).train(self.training)

    def descend(self, loss: Tensor) -> None:
        """One update of all networks, each weight along its own gradient. The optimizer's groups count the steps."""
        for group in self.opt.param_groups:
            done = group["updates"] = group.get("updates", 0)
            group["lr"] = self.lr * (annealed(min(done / self.anneal, 1.0)) if self.anneal else 1.0)
            group["updates"] += 1
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()

    def label_loss(self, h: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """L_c: the cross-entropy of the labels and what C makes of the features h of ``batch["x"]``."""
        return cross_entropy(self.C(h), batch["label"])

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of H and C on images "x" and their labels "label". Returns "loss_c"."""
        L_c = self.label_loss(self.H(batch["x"]), batch)
        self.descend(L_c)
        return {"loss_c": L_c.detach()}

    def optimizers(self) -> dict[str, Optimizer]:
        return {"all": self.opt}


class DANN(LabelsOnly):
    """Feature extractor H, label predictor C and domain classifier D, trained as in Fig. 7 (Ganin et al. 2016).

    H maps images (n, ...) to features (n, ...), C features to logits (n, classes, ...), and D features to logits of
    any shape of "this is from the source domain". A batch holds labelled images of the source, "x" and "label"
    (n,) or, for segmentation, (n, *size), and equally many images of the target, "target"; see
    `cohorts.problems.adaptation.two_domains`. H and C minimise L_c - ``lam`` L_d and D minimises L_d, in one backward
    pass through `reverse`, by gradient descent with momentum. The two schedules of the paper count steps: with ``rise``
    > 0, lam grows from 0 to its value over so many, along `schedule`, and with ``anneal`` > 0 the learning rate falls
    over so many, along `annealed`. With lam = 0, C and H learn from the source alone, but for batch norm: both domains
    pass H together, and a batch norm in H normalises and remembers their mixture; with ``by_domain`` each passes H by
    itself and is normalised by itself. Raises ValueError for lam, rise or anneal < 0.
    """

    def __init__(
        self,
        H: nn.Module,
        C: nn.Module,
        D: nn.Module,
        *,
        lam: float = 1.0,
        rise: int = 0,
        lr: float = 0.01,
        momentum: float = 0.9,
        anneal: int = 0,
        by_domain: bool = False,
    ) -> None:
        super().__init__(H, C, lr=lr, momentum=momentum, anneal=anneal)
        if lam < 0 or rise < 0:
            raise ValueError(f"lam and rise must be 0 or more, not {lam} and {rise}")
        self.D, self.lam, self.rise, self.by_domain = D, lam, rise, by_domain
        self.register_buffer("done", torch.zeros(()))  # steps, on the device and in checkpoints
        self.opt = SGD(self.parameters(), lr=lr, momentum=momentum)  # one for all three

    def weight(self) -> Tensor:
        """lam of the next step, a scalar on the device."""
        if not self.rise:
            return torch.full_like(self.done, self.lam)
        return self.lam * schedule((self.done / self.rise).clamp(max=1.0))

    def features(self, x_S: Tensor, x_T: Tensor) -> tuple[Tensor, Tensor]:
        """What H makes of both domains: together, or each by itself."""
        if self.by_domain:
            return self.H(x_S), self.H(x_T)
        return self.H(torch.cat([x_S, x_T])).split([len(x_S), len(x_T)])

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of H, C and D. Returns "loss_c", "loss_d" (Eq. 9, without lam) and "lam"."""
        lam = self.weight()
        h_S, h_T = self.features(batch["x"], batch["target"])
        L_c = self.label_loss(h_S, batch)
        s_S, s_T = self.D(reverse(torch.cat([h_S, h_T]), lam)).split([len(h_S), len(h_T)])
        L_d = domain_loss(s_S, s_T)
        self.descend(L_c + L_d)
        self.done += 1
        return {"loss_c": L_c.detach(), "loss_d": L_d.detach(), "lam": lam}
