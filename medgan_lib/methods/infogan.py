"""InfoGAN: codes that a second network can read off the images (review Sec. 2.2; Chen et al. 2016)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_lib.methods.base import adam, frozen
from medgan_lib.methods.gan import GAN
from medgan_lib.networks import batched, placed
from medgan_lib.objectives import OBJECTIVES

SIGMA_FLOOR = 0.1  # without it the density of a code that is read exactly, and with it the bound, would be unbounded


@dataclass(frozen=True)
class Codes:
    """The layout of c: for every number k in ``categorical`` a code with k equally likely values, written as k zeros
    and ones, then ``continuous`` numbers, uniform in [-1, 1]. All are independent.

    The distribution Q(c | x) is described by ``outputs`` numbers a sample: k logits for each categorical code, then
    the means of the continuous ones (each a Gaussian), then as many raw standard deviations.
    Raises ValueError for a categorical code with fewer than 2 values, a negative number of continuous codes, or none.
    """

    categorical: tuple[int, ...] = ()
    continuous: int = 0

    def __post_init__(self) -> None:
        if any(k < 2 for k in self.categorical) or self.continuous < 0 or not self.size:
            raise ValueError(
                "codes are a tuple of numbers of values, each at least 2, and a number of continuous codes, and at "
                f"least one code in all; not categorical={self.categorical}, continuous={self.continuous}"
            )

    @property
    def size(self) -> int:
        """Entries of c."""
        return sum(self.categorical) + self.continuous

    @property
    def outputs(self) -> int:
        """Numbers that Q returns for a sample."""
        return sum(self.categorical) + 2 * self.continuous

    @property
    def entropy(self) -> tuple[float, float]:
        """H(c) of the categorical codes together, and the differential entropy of the continuous ones, in nats."""
        return sum(math.log(k) for k in self.categorical), self.continuous * math.log(2)

    def draw(self, n: int, generator: torch.Generator | None = None, device: torch.device | None = None) -> Tensor:
        """c (n, size) from its prior."""
        options = {"generator": generator, "device": device}
        # Not by `encode`, whose look at the values would wait for the device in every step.
        values = [torch.randint(k, (n, 1), **options) for k in self.categorical]
        hot = [(v == torch.arange(k, device=v.device)).float() for v, k in zip(values, self.categorical, strict=True)]
        return torch.cat([*hot, 2 * torch.rand(n, self.continuous, **options) - 1], dim=1)

    def encode(self, values: list[Tensor] | Tensor = (), continuous: Tensor | None = None) -> Tensor:
        """c (n, size) with these values: an int64 tensor (n,) for each categorical code (or a single tensor where
        there is one such code) and the continuous codes (n, continuous), which may be left out where there are none.

        ValueError for another number of codes, or for a value that a code cannot take.
        """
        values = [values] if isinstance(values, Tensor) else list(values)
        if len(values) != len(self.categorical):
            raise ValueError(f"values for {len(values)} categorical codes; {self}")
        for i, (value, k) in enumerate(zip(values, self.categorical, strict=True)):
            if value.numel() and not 0 <= int(value.min()) <= int(value.max()) < k:
                raise ValueError(f"categorical code {i} has the values 0 to {k - 1}, not {value.tolist()}")
        parts = [F.one_hot(value, k).float() for value, k in zip(values, self.categorical, strict=True)]
        c = torch.cat(parts + ([] if continuous is None else [continuous]), dim=1)
        return self.checked(c)

    def checked(self, c: Tensor) -> Tensor:
        """c itself. ValueError unless it is (n, size), zeros and ones where categorical, in [-1, 1] elsewhere."""
        if c.ndim != 2 or c.shape[1] != self.size:
            raise ValueError(f"c has shape {tuple(c.shape)}, not (n, {self.size}); {self}")
        *hot, rest = c.split([*self.categorical, self.continuous], dim=1)
        for i, part in enumerate(hot):
            if not (((part == 0) | (part == 1)).all() and (part.sum(1) == 1).all()):
                raise ValueError(f"categorical code {i} needs one 1 and zeros in each row; {self}")
        if rest.numel() and not rest.abs().max() <= 1:
            raise ValueError(f"continuous codes lie in [-1, 1], these in [{rest.min():.3g}, {rest.max():.3g}]; {self}")
        return c

    def read(self, outputs: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """What Q says: logits (n, k) of each categorical code, means and standard deviations (n, continuous)."""
        if outputs.ndim != 2 or outputs.shape[1] != self.outputs:
            raise ValueError(f"Q returned shape {tuple(outputs.shape)}, not (n, {self.outputs}); {self}")
        *logits, mean, raw = outputs.split([*self.categorical, self.continuous, self.continuous], dim=1)
        return logits, mean, F.softplus(raw) + SIGMA_FLOOR

    def bound(self, c: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """L_I = E[log Q(c | x)] + H(c) <= I(c; x) in nats, of the categorical and of the continuous codes."""
        *hot, rest = c.split([*self.categorical, self.continuous], dim=1)
        logits, mean, sigma = self.read(outputs)
        log_p = sum((one * l.log_softmax(1)).sum(1) for one, l in zip(hot, logits, strict=True))
        log_density = -0.5 * ((rest - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
        discrete = log_p.mean() if hot else rest.new_zeros(())
        return discrete + self.entropy[0], log_density.sum(1).mean() + self.entropy[1]

    def __str__(self) -> str:
        kinds = ", ".join(f"one of {k} values" for k in self.categorical) or "none"
        return f"the codes are: categorical {kinds}; continuous {self.continuous}, each in [-1, 1]"


class InfoGAN(GAN):
    """A GAN whose generator makes x = G(z, c), and a network Q that retrieves the code c from x.

    The game is Eq. 1 (or another row of Table 1) with a reward for information: G minimises V(D, G) - lambda L_I, D and
    Q together minimise the discriminator's loss - lambda L_I on the same generated samples, with one optimizer. Here
    L_I = E[log Q(c | G(z, c))] + H(c) is a lower bound on I(c; G(z, c)), exact when Q is the true posterior of c.
    ``lam`` is lambda of the categorical codes and ``lam_continuous`` that of the continuous ones, whose bound, a
    difference of differential entropies, is on another scale (Chen et al., Sec. 6); 0.1 is ours, the authors' program
    has 1 and a fixed standard deviation. Where ``paid`` is False, G gets
    nothing for the information, while Q learns to read all the same: G and D are then a plain GAN, if Q is apart.

    G takes (n, G.latent), of which the last ``codes.size`` entries are c and the others z, uniform in [-1, 1] as in the
    authors' code. D maps samples to logits, Q maps them to (n, codes.outputs). In the paper both share a trunk: say so
    by two `nn.Sequential` of two parts, whose first is the same module. Q then reads features that were learnt on real
    samples, too, and where ``informed`` is True, as in the authors' program, the information shapes these features as
    well; else the trunk is D's alone. The review's "separate neural network" is any other Q. ``lr`` is G's learning
    rate, ``lr_D`` that of D and ``lr_Q`` that of what only Q has (both ``lr`` unless given).

    ``ema``, ``decay``, ``betas`` are as in `GAN`. Raises ValueError as `GAN` does, for an objective whose critic needs
    a constraint, where G has no room for z, or for lambda < 0.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        Q: nn.Module,
        codes: Codes,
        objective: str = "gan-ma",
        *,
        lam: float = 1.0,
        lam_continuous: float = 0.1,
        paid: bool = True,
        informed: bool = True,
        lr: float = 2e-4,
        lr_D: float | None = None,
        lr_Q: float | None = None,
        betas: tuple[float, float] = (0.5, 0.9),
        ema: float = 0.0,
        decay: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(G, D, objective, lr=lr, betas=betas, ema=ema, decay=decay)
        if objective in ("wgan", "wgan-gp"):
            raise ValueError(f"{objective!r} needs clipping or a penalty, which an InfoGAN does not have")
        if G.latent <= codes.size:
            raise ValueError(f"G takes {G.latent} inputs, which must be more than the {codes.size} entries of c")
        if lam < 0 or lam_continuous < 0:
            raise ValueError(f"lambda must be 0 or more, not lam={lam}, lam_continuous={lam_continuous}")
        self.Q, self.codes, self.paid, self.informed = Q, codes, paid, informed
        self.lam, self.lam_continuous = lam, lam_continuous
        self.categorical, self.continuous = codes.categorical, codes.continuous
        self.lr_D, self.lr_Q = (lr if rate is None else rate for rate in (lr_D, lr_Q))
        if self.shared and not len(D) == len(Q) == 2:
            raise ValueError(f"D and Q that share their trunk have two parts each, not {len(D)} and {len(Q)}")
        self.opt_D = adam(D, self.lr_D, betas)
        self.opt_D.add_param_group({"params": list((Q[1] if self.shared else Q).parameters()), "lr": self.lr_Q})

    @property
    def shared(self) -> bool:
        """Whether Q reads what D's trunk makes of a sample."""
        return isinstance(self.D, nn.Sequential) and isinstance(self.Q, nn.Sequential) and self.D[0] is self.Q[0]

    def further_calls(self) -> list[tuple[nn.Module, str]]:
        return [(self.D, "0"), (self.D, "1"), (self.Q, "1")] if self.shared else []

    def judge_and_read(self, x: Tensor, informed: bool = True) -> tuple[Tensor, Tensor]:
        """D(x) and what Q says of c, with one pass through a trunk that they share; unless it is to be ``informed``,
        Q sends no gradient into it."""
        if not self.shared:
            return self.D(x), self.Q(x)
        features = self.D[0](x)
        return self.D[1](features), self.Q[1](features if informed else features.detach())

    def update_D(self, x: Tensor, *y: Tensor) -> dict[str, Tensor]:
        """One descent step of D and Q on D's loss in Table 1 minus lambda L_I, on real samples and as many generated.

        Returns "loss_D" and "wasserstein" as `GAN.update_D` does, of the game alone.
        """
        noise = self.noise(len(x))
        with torch.no_grad():
            fake = self.G(noise)
        real_logits, (fake_logits, outputs) = self.D(x), self.judge_and_read(fake, self.informed)
        loss = OBJECTIVES[self.objective].discriminator(real_logits, fake_logits)
        categorical, continuous = self.codes.bound(noise[:, -self.codes.size :], outputs)
        self.opt_D.zero_grad()
        # Q has to learn even where nothing is paid: Adam is blind to the weight of a loss that stands alone
        (loss - self.lam * categorical - self.lam_continuous * continuous).backward()
        self.opt_D.step()
        difference = real_logits.mean() - fake_logits.mean()
        return {"loss_D": loss.detach(), "wasserstein": difference.detach()}

    def update_G(self, n: int, *y: Tensor) -> dict[str, Tensor]:
        """One descent step of G on its loss in Table 1 minus lambda L_I, on n samples.

        Returns "loss_G" (with the information that is paid) and, for each kind of code there is, "bound_categorical"
        and "bound_continuous", L_I in nats before the step.
        """
        noise = self.noise(n)
        with frozen(self.D), frozen(self.Q):  # not detached: what Q and D say has to reach G
            fake_logits, outputs = self.judge_and_read(self.G(noise))
            categorical, continuous = self.codes.bound(noise[:, -self.codes.size :], outputs)
            loss = OBJECTIVES[self.objective].generator(fake_logits)
            if self.paid:
                loss = loss - self.lam * categorical - self.lam_continuous * continuous
            self.opt_G.zero_grad()
            loss.backward()
        self.opt_G.step()
        if self.ema:
            self._average()
        found = {"bound_categorical": categorical.detach(), "bound_continuous": continuous.detach()}
        there = {"bound_categorical": bool(self.categorical), "bound_continuous": bool(self.continuous)}
        return {"loss_G": loss.detach()} | {name: value for name, value in found.items() if there[name]}

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(z, c) side by side, (n, G.latent), on G's device: z uniform in [-1, 1], c from its prior."""
        device = next(self.G.parameters()).device
        where = device if generator is None else generator.device
        z = 2 * torch.rand(n, self.G.latent - self.codes.size, device=where, generator=generator) - 1
        return torch.cat([z, self.codes.draw(n, generator, where)], dim=1).to(device)

    def generate(self, c: Tensor, z: Tensor, *, device: str | torch.device = "auto") -> Tensor:
        """Samples x = G(z, c) of `sampler` in evaluation mode, for codes c (n, codes.size) and z (n, ...) or (1, ...).

        They are made on ``device`` as `networks.chosen_device` has it and come back where c is.
        ValueError for codes that do not exist (`Codes.checked`) or a z of another width or number.
        """
        c, width = self.codes.checked(c), self.G.latent - self.codes.size
        if z.ndim != 2 or z.shape[1] != width or len(z) not in (1, len(c)):
            raise ValueError(f"z has shape {tuple(z.shape)}, not ({len(c)} or 1, {width}): as many as there are codes")
        with placed(device, self.sampler):
            return batched(self.sampler, torch.cat([z.to(c.device).expand(len(c), -1), c], dim=1))

    def retrieve(self, x: Tensor, *, device: str | torch.device = "auto") -> tuple[list[Tensor], Tensor, Tensor]:
        """What Q, in evaluation mode, reads off samples x, real or generated: `Codes.read` of its outputs.

        Q runs on ``device`` as `networks.chosen_device` has it; the result is where x is.
        """
        with placed(device, self.Q):
            return self.codes.read(batched(self.Q, x))
