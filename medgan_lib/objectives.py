"""Table 1 of the review on logits, and the two ways to keep a critic 1-Lipschitz (review Sec. 2.1, Eqs. 1-4).

Every loss is to be minimised. With D = sigmoid(l) the logarithms are written on the logit l: ``log D = logsigmoid(l)``
and ``log(1 - D) = logsigmoid(-l)``, which is exact for any logit in value and gradient. (``softplus`` is the same
function, but PyTorch's becomes a straight line above 20.) Half-precision inputs are widened to float32 first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Objective:
    """One row of Table 1.

    ``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits)`` take what D returns, of any shape, and
    return a scalar in float32 (float64 for float64 inputs). For ``gan`` and ``gan-ma`` that is the logit l of
    D = sigmoid(l), for ``lsgan`` the raw output, for ``wgan`` and ``wgan-gp`` the value of the critic. The penalty of
    ``wgan-gp`` is `gradient_penalty`.
    """

    name: str
    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _wide(values: Tensor) -> Tensor:
    """Half precision has 8 or 11 bits: too few for a mean, or for the distance to a target."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _classify(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))]  (Eq. 1, the discriminator's side)."""
    return -logsigmoid(_wide(real_logits)).mean() - logsigmoid(-_wide(fake_logits)).mean()


def _saturating(fake_logits: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]  (Eq. 1, the generator's side)."""
    return logsigmoid(-_wide(fake_logits)).mean()


def _non_saturating(fake_logits: Tensor) -> Tensor:
    """-E[log D(G(z))]  (Eq. 2)."""
    return -logsigmoid(_wide(fake_logits)).mean()


def _least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """E[(D(x) - 1)^2] + E[D(G(z))^2]  (Mao et al. 2017)."""
    return (_wide(real) - 1).square().mean() + _wide(fake).square().mean()


def _least_squares_generator(fake: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2]."""
    return (_wide(fake) - 1).square().mean()


def _critic(real: Tensor, fake: Tensor) -> Tensor:
    """-E[D(x)] + E[D(G(z))]  (Eq. 3, negated: the critic minimises it)."""
    return _wide(fake).mean() - _wide(real).mean()


def _critic_generator(fake: Tensor) -> Tensor:
    """-E[D(G(z))]."""
    return -_wide(fake).mean()


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]  (Lim & Ye 2017; Miyato et al. 2018)."""
    return (1 - _wide(real)).clamp_min(0).mean() + (1 + _wide(fake)).clamp_min(0).mean()


OBJECTIVES: dict[str, Objective] = {
    "gan": Objective("gan", _classify, _saturating),
    "gan-ma": Objective("gan-ma", _classify, _non_saturating),
    "lsgan": Objective("lsgan", _least_squares, _least_squares_generator),
    "wgan": Objective("wgan", _critic, _critic_generator),
    "wgan-gp": Objective("wgan-gp", _critic, _critic_generator),
    "hinge": Objective("hinge", _hinge, _critic_generator),
}
"""The five rows of Table 1, and the hinge loss, which came after it."""


def gradient_penalty(
    critic: Callable[..., Tensor],
    real: Tensor,
    fake: Tensor,
    *condition: Tensor,
    one_sided: bool = False,
) -> Tensor:
    """E[(||grad D(x_hat)||_2 - 1)^2] on random points x_hat between real and fake samples (Eq. 4, without lambda).

    ``real`` and ``fake`` have shape (n, ...) with any number of dimensions and channels; ``critic(x, *condition)``
    returns one value a sample, or a map of them (summed a sample). Each sample has its own epsilon and its own norm.
    ``one_sided`` penalises only norms above 1, which is what "the norm should not exceed 1" asks for.
    Raises ValueError where the shapes of ``real`` and ``fake`` differ.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"real {tuple(real.shape)} and fake {tuple(fake.shape)} must have the same shape"
        )
    epsilon = torch.rand(
        len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype
    )
    x_hat = torch.lerp(fake.detach(), real.detach(), epsilon).requires_grad_(True)
    (gradient,) = torch.autograd.grad(
        critic(x_hat, *condition).sum(), x_hat, create_graph=True
    )
    excess = _wide(gradient).reshape(len(real), -1).norm(dim=1) - 1
    if one_sided:
        excess = excess.clamp_min(0)
    return excess.square().mean()


def r1_penalty(discriminator: Callable[..., Tensor], real: Tensor, *condition: Tensor) -> Tensor:
    """E[||grad D(x)||_2^2] on real samples (R1 of Mescheder et al. 2018, without gamma/2).

    ``real`` has shape (n, ...); ``discriminator(x, *condition)`` returns one value a sample, or a map of them (summed
    a sample). It falls to 0 where D is flat on the data, as it is once the generated samples are like real ones.
    """
    x = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(x, *condition).sum(), x, create_graph=True)
    return _wide(gradient).reshape(len(real), -1).square().sum(1).mean()


@torch.no_grad()
def clip_weights_(module: nn.Module, c: float) -> None:
    """Clips every parameter to [-c, c] in place: weight clipping at the end of a critic update (review Sec. 2.1)."""
    torch._foreach_clamp_min_(list(module.parameters()), -c)
    torch._foreach_clamp_max_(list(module.parameters()), c)


def gradient_difference(fake: Tensor, real: Tensor) -> Tensor:
    """How much steeper or flatter one image is than the other, of images (n, channels, *size): a scalar.

    The squared difference of the absolute steps between neighbouring pixels, a mean over pixels, added up over axes
    (Mathieu et al. 2016; for synthetic CT, Nie et al. 2017). An edge has to be as steep as that of ``real``, wherever
    it goes up or down. ValueError for different shapes.
    """
    if fake.shape != real.shape:
        raise ValueError(f"images {tuple(fake.shape)} and references {tuple(real.shape)} must have the same shape")
    axes = range(2, fake.ndim)
    steps = ((fake.diff(dim=axis).abs(), real.diff(dim=axis).abs()) for axis in axes)
    return torch.stack([(ours - theirs).square().mean() for ours, theirs in steps]).sum()
