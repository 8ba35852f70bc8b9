"""Which modes of a known mixture were reached."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from medgan_lib.metrics.copies import nearest
from medgan_lib.metrics.samples import matrices


class Modes(NamedTuple):
    """Modes that were reached, share of high-quality samples, KL to uniform (nats), high-quality samples by mode."""

    covered: int
    high_quality: float
    kl: float
    counts: Tensor


def modes_covered(
    samples: Tensor, modes: Tensor, sigma: float, *, within: float = 3.0, min_count: int = 1
) -> Modes:
    """Which modes of a mixture of equal Gaussians a generator reaches, and how evenly.

    A sample belongs to the nearest mode and is of high quality within ``within`` standard deviations of it
    (for real samples in two dimensions and 3σ a share of 1 − e^−4.5 = 98.9 %). A mode is covered if at least
    ``min_count`` high-quality samples belong to it. KL is that of the high-quality samples' distribution
    over modes to the uniform one: 0 if even, log(modes) if all are in one mode or there is none. Source:
    experiments with rings and grids in Srivastava et al. 2017 (VEEGAN).

    Args:
        samples: (n, d).
        modes: their centres (modes, d).
        sigma: standard deviation of each mode, in units of the samples.

    Raises:
        ValueError: shapes that do not fit, sigma not positive, no samples, or values that are not finite.
    """
    samples, modes = matrices(samples, modes, least=1)
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    distance, mode = nearest(samples, modes)
    good = distance <= within * sigma
    counts = torch.bincount(mode[good], minlength=len(modes))
    share = counts[counts > 0].double() / counts.sum().clamp_min(1)
    kl = math.log(len(modes)) + (share * share.log()).sum().item()
    return Modes(int((counts >= min_count).sum()), good.double().mean().item(), max(0.0, kl), counts.cpu())


class Chance(NamedTuple):
    """The `Modes` that samples reach which know nothing but mean and spread of the data."""

    gaussian: Modes
    square: Modes
    circle: Modes


def modes_by_chance(
    data: Tensor,
    modes: Tensor,
    sigma: float,
    *,
    n: int = 5000,
    seed: int = 0,
    within: float = 3.0,
    min_count: int = 1,
) -> Chance:
    """What `modes_covered` says of samples without any modes: to be printed beside what it says of a generator.

    With many samples some fall near every mode, wherever they are, so that a number of covered modes means nothing by
    itself. A Gaussian has the mean and the covariance of the data. The square (in more dimensions a box, turned as the
    data are) is even and has the same moments. The circle (a sphere) is even, around the mean, of radius
    √Tr Σ: it passes through all modes of a ring.

    Args:
        data: real samples (m, d), at least d + 1.
        modes, sigma, within, min_count: as for the generator's samples.
        n: how many samples each of the three has; as many as the generator's.
        seed: of these samples.

    Raises:
        ValueError: as `modes_covered`, or fewer samples than dimensions + 1.
    """
    data, modes = matrices(data, modes, least=1)
    d = data.shape[1]
    if len(data) <= d:
        raise ValueError(f"too few samples: {len(data)}; at least {d + 1} are needed in {d} dimensions")
    draw, mean = torch.Generator().manual_seed(seed), data.mean(0)
    spread, axes = torch.linalg.eigh(data.T.cov().reshape(d, d))
    root = axes * spread.clamp_min(0).sqrt()  # Σ = root rootᵀ
    normal = torch.randn(n, d, generator=draw, dtype=torch.float64).to(data.device)
    even = (torch.rand(n, d, generator=draw, dtype=torch.float64) * 2 - 1).to(data.device) * math.sqrt(3)
    around = torch.randn(n, d, generator=draw, dtype=torch.float64).to(data.device)
    around = around / around.norm(dim=1, keepdim=True) * spread.sum().clamp_min(0).sqrt()
    samples = mean + normal @ root.T, mean + even @ root.T, mean + around
    return Chance(*(modes_covered(x, modes, sigma, within=within, min_count=min_count) for x in samples))
