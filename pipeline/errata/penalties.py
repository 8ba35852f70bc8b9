"""Eq. 4 as it is computed in places: gradient penalties with one slip each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib.objectives import gradient_penalty


def penalty_from(
    critic: Callable[..., Tensor],
    x: Tensor,
    *condition: Tensor,
    excess: Callable[[Tensor], Tensor] = lambda gradient: gradient.reshape(len(gradient), -1).norm(dim=1) - 1,
    create_graph: bool = True,
) -> Tensor:
    """The penalty at given points, with the part to get wrong left open."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(x, *condition).sum(), x, create_graph=create_graph)
    return excess(gradient).square().mean()


def between(real: Tensor, fake: Tensor, epsilon: Tensor | None = None) -> Tensor:
    if epsilon is None:
        epsilon = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype)
    return epsilon * real + (1 - epsilon) * fake


def one_norm_for_the_batch(critic, real, fake, *condition, one_sided=False):
    norm = one_sided_or_not(lambda gradient: gradient.norm() - 1, one_sided)
    return penalty_from(critic, between(real, fake), *condition, excess=norm)


def one_epsilon_for_the_batch(critic, real, fake, *condition, one_sided=False):
    point = between(real, fake, torch.rand((), dtype=real.dtype))
    return penalty_from(critic, point, *condition, excess=one_sided_or_not(sample_norms, one_sided))


def epsilon_for_every_element(critic, real, fake, *condition, one_sided=False):
    point = between(real, fake, torch.rand_like(real))
    return penalty_from(critic, point, *condition, excess=one_sided_or_not(sample_norms, one_sided))


def real_samples_only(critic, real, fake, *condition, one_sided=False):
    return penalty_from(critic, real, *condition, excess=one_sided_or_not(sample_norms, one_sided))


def epsilon_for_three_channels(critic, real, fake, *condition, one_sided=False):
    epsilon = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype)
    if real.ndim > 2:
        epsilon = epsilon.expand(len(real), 3, *real.shape[2:]).reshape(real.shape)
    point = between(real, fake, epsilon)
    return penalty_from(critic, point, *condition, excess=one_sided_or_not(sample_norms, one_sided))


def squared_norm(critic, real, fake, *condition, one_sided=False):
    norm = one_sided_or_not(lambda gradient: gradient.reshape(len(gradient), -1).square().sum(1) - 1, one_sided)
    return penalty_from(critic, between(real, fake), *condition, excess=norm)


def norm_of_one_axis(critic, real, fake, *condition, one_sided=False):
    norm = one_sided_or_not(lambda gradient: gradient.norm(dim=min(1, gradient.ndim - 1)) - 1, one_sided)
    return penalty_from(critic, between(real, fake), *condition, excess=norm)


def without_graph(critic, real, fake, *condition, one_sided=False):
    norm = one_sided_or_not(sample_norms, one_sided)
    return penalty_from(critic, between(real, fake), *condition, excess=norm, create_graph=False)


def always_one_sided(critic, real, fake, *condition, one_sided=False):
    return gradient_penalty(critic, real, fake, *condition, one_sided=True)


def condition_forgotten(critic, real, fake, *condition, one_sided=False):
    zeros = [torch.zeros_like(c) for c in condition]
    return gradient_penalty(critic, real, fake, *zeros, one_sided=one_sided)


def sample_norms(gradient: Tensor) -> Tensor:
    return gradient.reshape(len(gradient), -1).norm(dim=1) - 1


def one_sided_or_not(excess: Callable[[Tensor], Tensor], one_sided: bool) -> Callable[[Tensor], Tensor]:
    return (lambda gradient: F.relu(excess(gradient))) if one_sided else excess
