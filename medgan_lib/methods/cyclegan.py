"""Translation in a cycle: CycleGAN, and DualGAN and DiscoGAN as what they change (review Sec. 3.2, Fig. 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.optim import Optimizer

from medgan_lib.methods.base import adam, checked_decay, decay_, frozen
from medgan_lib.methods.translation import Translation, judge
from medgan_lib.objectives import OBJECTIVES, clip_weights_


class CycleGAN(Translation):
    """Two generators, G_B from A to B and G_A back, and a discriminator in each domain (Zhu et al. 2017).

    y_A = ``batch["y"]`` and y_B = ``batch["x"]`` need not belong together. The generators play their games of
    ``objective`` (Table 1) and minimise ``lam`` times the L1 distances of y_A to G_A(G_B(y_A)) and of y_B to
    G_B(G_A(y_B)). Options whose effect chapter 11 shows: ``identity`` weighs the L1 distances of y_B to G_B(y_B) and
    of y_A to G_A(y_A); ``buffer`` = (capacity, channels, *size) lets D see generated images of the past, too;
    ``decay`` = (first, last) brings the learning rate linearly to 0 between these two steps.
    Raises ValueError for an unknown objective, a negative weight, or a decay or buffer that makes no sense.
    """

    def __init__(
        self,
        G_B: nn.Module,
        G_A: nn.Module,
        D_B: nn.Module,
        D_A: nn.Module,
        objective: str = "lsgan",
        *,
        lam: float = 10.0,
        identity: float = 0.0,
        buffer: tuple[int, ...] | None = None,
        decay: tuple[int, int] | None = None,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        if min(lam, identity) < 0:
            raise ValueError(f"lam and identity must be 0 or more, not {lam} and {identity}")
        self.G_B, self.G_A, self.D_B, self.D_A = G_B, G_A, D_B, D_A
        self.objective, self.lam, self.identity = objective, lam, identity
        self.decay, self.lr, self.betas = checked_decay(decay), lr, betas
        self.seen_B, self.seen_A = (None, None) if buffer is None else (Buffer(buffer), Buffer(buffer))
        # an optimizer for both generators and one for both discriminators: their losses add up, so it is the same
        self.opt_G, self.opt_D = (adam(nn.ModuleList(pair), lr, betas) for pair in ((G_B, G_A), (D_B, D_A)))

    @property
    def G(self) -> nn.Module:
        """The generator from A to B, which `translate` uses."""
        return self.G_B

    def networks(self) -> dict[str, nn.Module]:
        return {"G_B": self.G_B, "G_A": self.G_A, "D_B": self.D_B, "D_A": self.D_A}

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of both discriminators and one of both generators.

        Returns "loss_D" (of both), "loss_G" (all of it), "cycle" (both L1 distances) and with that term "identity".
        """
        y_A, y_B = batch["y"], batch["x"]
        x_B, x_A = self.G_B(y_A), self.G_A(y_B)
        loss_D = self.update_D(y_A, y_B, x_A.detach(), x_B.detach())
        game = OBJECTIVES[self.objective].generator
        cycle = self.distance(self.G_A(x_B), y_A) + self.distance(self.G_B(x_A), y_B)
        history = {"loss_D": loss_D, "cycle": cycle.detach()}
        with frozen(self.D_A), frozen(self.D_B):
            loss = game(self.D_B(x_B)) + game(self.D_A(x_A)) + self.lam * cycle
        if self.identity:
            identity = l1_loss(self.G_B(y_B), y_B) + l1_loss(self.G_A(y_A), y_A)
            loss = loss + self.identity * identity
            history["identity"] = identity.detach()
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        decay_((self.opt_D, self.opt_G), self.decay)
        return {"loss_G": loss.detach()} | history

    def update_D(self, y_A: Tensor, y_B: Tensor, x_A: Tensor, x_B: Tensor) -> Tensor:
        """One descent step of both discriminators on the sum of their losses in Table 1; returns that sum."""
        if self.seen_B is not None:
            x_A, x_B = self.seen_A(x_A), self.seen_B(x_B)
        game = OBJECTIVES[self.objective].discriminator
        loss = game(*judge(self.D_B, y_B, x_B)) + game(*judge(self.D_A, y_A, x_A))
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        return loss.detach()

    @staticmethod
    def distance(restored: Tensor, y: Tensor) -> Tensor:
        """How far an image is from what came back from its cycle: L1, a mean over voxels."""
        return l1_loss(restored, y)

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D, "G": self.opt_G}


class DualGAN(CycleGAN):
    """What changes in DualGAN (Yi et al. 2017): the objective is that of WGAN, with weights clipped to [-clip, clip].

    The cycle's distance stays L1. The paper updates its critics several times a step; here all three methods update
    every player once.
    """

    def __init__(self, *players: nn.Module, clip: float = 0.01, **options) -> None:
        super().__init__(*players, "wgan", **options)
        if clip <= 0:
            raise ValueError(f"clip must be above 0, not {clip}")
        self.clip = clip

    def update_D(self, y_A: Tensor, y_B: Tensor, x_A: Tensor, x_B: Tensor) -> Tensor:
        loss = super().update_D(y_A, y_B, x_A, x_B)
        for critic in (self.D_A, self.D_B):
            clip_weights_(critic, self.clip)
        return loss


class DiscoGAN(CycleGAN):
    """What changes in DiscoGAN (Kim et al. 2017): the objective of Eqs. 1 and 2, and squared distances in the cycle."""

    def __init__(self, *players: nn.Module, **options) -> None:
        super().__init__(*players, "gan-ma", **options)

    @staticmethod
    def distance(restored: Tensor, y: Tensor) -> Tensor:
        return mse_loss(restored, y)


class Buffer(nn.Module):
    """Generated images of the past (Shrivastava et al. 2017): ``shape`` is (capacity, channels, *size).

    Until it is full, images go in and come back as they are. Then each image is, with probability 1/2, exchanged for
    one of the stored ones. Raises ValueError for a batch larger than the capacity.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(shape) < 3 or min(shape) < 1:
            raise ValueError(f"buffer must be (capacity, channels, *size), not {shape}")
        self.register_buffer("images", torch.zeros(shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        capacity, n = len(self.images), len(x)
        if n > capacity:
            raise ValueError(f"a buffer of {capacity} images cannot take a batch of {n}")
        # Everything stays on the device: which slots are free is a comparison of tensors, not a branch. Free slots come
        # first, then used ones by chance, so no two images of a batch share a slot and none gets what was never stored.
        used = torch.arange(capacity, device=x.device) < self.filled
        slot = torch.where(used, torch.rand(capacity, device=x.device), -1.0).argsort(stable=True)[:n]
        free = ~used[slot]
        swap = ~free & (torch.rand(n, device=x.device) < 0.5)
        pick = swap.view(n, *[1] * (x.ndim - 1))
        old = self.images[slot]
        self.images[slot] = torch.where((swap | free).view_as(pick), x, old)
        self.filled += free.sum()
        return torch.where(pick, old, x)
