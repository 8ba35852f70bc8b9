"""Translation in a cycle: CycleGAN, and DualGAN and DiscoGAN as what they change (review Sec. 3.2, Fig. 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.optim import Optimizer, RMSprop

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

        Returns "loss_D" (of both), "loss_G" (all of it), and "cycle" (both distances) and "identity" where these count.
        """
        y_A, y_B = batch["y"], batch["x"]
        x_B, x_A = self.G_B(y_A), self.G_A(y_B)
        loss_D = self.update_D(y_A, y_B, x_A.detach(), x_B.detach())
        game = OBJECTIVES[self.objective].generator
        history = {"loss_D": loss_D}
        with frozen(self.D_A), frozen(self.D_B):
            loss = game(self.D_B(x_B)) + game(self.D_A(x_A))
        if self.lam:
            cycle = self.cycle(y_A, y_B, x_A, x_B)
            loss = loss + self.lam * cycle
            history["cycle"] = cycle.detach()
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

    def cycle(self, y_A: Tensor, y_B: Tensor, x_A: Tensor, x_B: Tensor) -> Tensor:
        """How far images of both domains are from what comes back of them."""
        return self.distance(self.G_A(x_B), y_A) + self.distance(self.G_B(x_A), y_B)

    @staticmethod
    def distance(restored: Tensor, y: Tensor) -> Tensor:
        """How far an image is from what came back from its cycle: L1, a mean over voxels."""
        return l1_loss(restored, y)

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D, "G": self.opt_G}


class DualGAN(CycleGAN):
    """What changes in DualGAN (Yi et al. 2017): the objective is that of WGAN, and so is the way to train it.

    Each step updates the critics ``n_critic`` times, every time with images of its own and their weights clipped to
    [-clip, clip] afterwards, then the generators once. All have RMSProp with a decay of 0.9. The cycle's distance stays
    L1. The paper has n_critic from 2 to 4, clip from 0.01 to 0.1 and lam from 100 to 1000. Raises ValueError as
    `CycleGAN`, and for n_critic < 1 or clip <= 0.
    """

    def __init__(
        self,
        *players: nn.Module,
        n_critic: int = 3,
        clip: float = 0.01,
        lam: float = 100.0,
        lr: float = 5e-5,
        **options,
    ) -> None:
        super().__init__(*players, "wgan", lam=lam, lr=lr, **options)
        if n_critic < 1 or clip <= 0:
            raise ValueError(f"n_critic must be at least 1 and clip above 0, not {n_critic} and {clip}")
        self.n_critic = self.draws = n_critic
        self.clip = clip
        self.opt_G, self.opt_D = (
            RMSprop(nn.ModuleList(pair).parameters(), lr, alpha=0.9)
            for pair in ((self.G_B, self.G_A), (self.D_B, self.D_A))
        )

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One turn on n_critic minibatches, which the batch holds one after the other. Returns what `CycleGAN` does."""
        if len(batch["x"]) % self.n_critic:
            raise ValueError(f"{len(batch['x'])} images cannot be dealt out to {self.n_critic} updates (n_critic)")
        *earlier, last = zip(*(batch[key].chunk(self.n_critic) for key in ("y", "x")), strict=True)
        for y_A, y_B in earlier:
            with torch.no_grad():
                x_A, x_B = self.G_A(y_B), self.G_B(y_A)
            self.update_D(y_A, y_B, x_A, x_B)
        return super().step(dict(zip(("y", "x"), last, strict=True)))

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
