"""The unrolled GAN (review Sec. 2.1; Metz et al. 2017, arXiv 1611.02163)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medgan_lib.methods.gan import GAN
from medgan_lib.objectives import OBJECTIVES


class UnrolledGAN(GAN):
    """G moves against the discriminator that D would be after k more of its own updates.

    D trains as in `GAN`. For G's update, k steps of D's optimizer are written out as a differentiable function of G's
    weights: D_0 = D, D_{i+1} = D_i after one Adam step on D's loss in Table 1 for the minibatch at hand (the same real
    and generated samples in all k steps). G then descends on its loss at D_k, and its gradient runs through the k
    updates too: how D would answer belongs to the loss. D keeps its own weights; the answers are thrown away.

    As in the paper the unrolled optimizer is Adam; it goes on from the moments that D's optimizer has reached. With
    objective "gan" G's loss is the value of Eq. 1 at D_k, both terms: the one of the real samples depends on G through
    D_k. With the others it is G's loss in Table 1 at D_k. With k = 0 the method is `GAN`.

    Raises ValueError for k < 0 and for "wgan" and "wgan-gp", whose constraints can't be unrolled here.
    """

    def __init__(self, G: nn.Module, D: nn.Module, objective: str = "gan", *, k: int, **options: Any) -> None:
        if k < 0:
            raise ValueError(f"k must be 0 or more, not {k}")
        super().__init__(G, D, objective, **options)
        if self.penalty or self.clip is not None or self.n_critic != 1:
            raise ValueError("the unrolled GAN has one update of D a step, without penalty and without clipping")
        self.k = k
        self._updates: int | None = None  # of D's optimizer, whose own count lies on the device
        self.register_load_state_dict_post_hook(UnrolledGAN._forget)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D on ``batch["x"]``, then one of G against the unrolled D, on the same real samples.

        Returns what `GAN.step` does, and "unrolled", by how much the k steps lower D's loss.
        """
        x, y = batch["x"], self.condition(batch)
        return self.update_D(x, *y) | self.update_G_against_answer(x, *y)

    def update_D(self, x: Tensor, *y: Tensor) -> dict[str, Tensor]:
        """As in `GAN`, and counts in Python: to look at the optimizer's count would make a GPU wait at every step."""
        losses = super().update_D(x, *y)
        if self._updates is not None:
            self._updates += 1
        return losses

    def update_G_against_answer(self, x: Tensor, *y: Tensor) -> dict[str, Tensor]:
        """One descent step of G on its loss at D_k, through the k updates."""
        fake = self.G(self.noise(len(x)), *y)
        before, after, theta = self.unroll(x, fake, *y)
        if self.objective == "gan":
            loss = -after
        else:
            loss = OBJECTIVES[self.objective].generator(functional_call(self.D, self.weights(theta), (fake, *y)))
        parameters = list(self.G.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.opt_G.step()
        if self.ema:
            self._average()
        return {"loss_G": loss.detach(), "unrolled": (before - after).detach()}

    def unroll(self, x: Tensor, fake: Tensor, *y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """D's loss at D_0 and at D_k, and the weights of D_k as a vector, all differentiable functions of ``fake``."""
        (adam,) = self.opt_D.param_groups
        (b1, b2), eps, rate = adam["betas"], adam["eps"], adam["lr"]
        theta = torch.cat([p.flatten() for p in self.D.parameters()])
        m, v, done = self._moments()
        before = loss = self.loss_D(theta, x, fake, *y)
        for t in range(done + 1, done + self.k + 1):
            (g,) = torch.autograd.grad(loss, theta, create_graph=True)
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g * g
            # the root has no derivative at 0, where a weight never got a gradient
            size = (v / (1 - b2**t)).clamp_min(1e-30).sqrt() + eps
            theta = theta - rate / (1 - b1**t) * m / size
            loss = self.loss_D(theta, x, fake, *y)
        return before, loss, theta

    def loss_D(self, theta: Tensor, x: Tensor, fake: Tensor, *y: Tensor) -> Tensor:
        """D's loss in Table 1 with the weights ``theta`` in place of D's own."""
        weights = self.weights(theta)
        real, generated = (functional_call(self.D, weights, (part, *y)) for part in (x, fake))
        return OBJECTIVES[self.objective].discriminator(real, generated)

    def weights(self, theta: Tensor) -> dict[str, Tensor]:
        """The vector ``theta`` cut up into the weights of D, by name."""
        own = dict(self.D.named_parameters())
        parts = theta.split([p.numel() for p in own.values()])
        return {name: part.view_as(p) for (name, p), part in zip(own.items(), parts, strict=True)}

    def _moments(self) -> tuple[Tensor, Tensor, int]:
        """What D's optimizer remembers: both moments, each in one vector, and the number of its steps."""
        own = list(self.D.parameters())
        states = [self.opt_D.state.get(p, {}) for p in own]
        if not all(states):
            return (*torch.zeros(2, sum(p.numel() for p in own)).to(own[0]), 0)
        m, v = (torch.cat([state[key].flatten() for state in states]) for key in ("exp_avg", "exp_avg_sq"))
        if self._updates is None:  # once, in the first step of a new or a resumed run
            self._updates = int(states[0]["step"])
        return m, v, self._updates

    def _forget(self, _: object = None) -> None:
        """After loading: the optimizer, loaded too, has another count."""
        self._updates = None
