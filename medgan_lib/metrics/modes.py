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
