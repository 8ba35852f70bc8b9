"""How far two samples of one number are apart, with an interval: the Kolmogorov-Smirnov distance."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class KS(NamedTuple):
    """The largest gap between two distribution functions, its 95 % interval, and the value at which it opens."""

    value: float
    low: float
    high: float
    at: float


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> KS:
    """The Kolmogorov-Smirnov distance of two samples (n,) and (m,): 0 if equal in distribution, 1 if apart.

    The value is D = sup |F_n(v) − G_m(v)|. Two samples of one distribution are about 0.87 s apart, s = √(1/n + 1/m), so
    put real against real beside it. The interval holds the distance of the distributions in at least 95 % of cases,
    for samples large enough for limit laws: the triangle inequality takes at most the 97.5 % quantile of
    Kolmogorov's law off, D − 1.48 s; and at the true place of the widest gap the samples show it up to the error of a
    difference of two shares, at most D + 1.96 s / 2. Within [0, 1]. Samples must be independent: one number a
    subject, not all points of one vessel.

    ValueError: other shapes, fewer than 2 values, or values that are not finite.
    """
    from scipy.special import kolmogi
    from scipy.stats import ks_2samp

    a, b = (torch.as_tensor(x).detach().double().cpu() for x in (a, b))
    if a.ndim != 1 or b.ndim != 1 or min(len(a), len(b)) < 2:
        raise ValueError(
            f"expected two samples (n,) and (m,) of at least 2 values, not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("a sample has values that are not finite")
    found = ks_2samp(a.numpy(), b.numpy(), method="asymp")
    value, s = float(found.statistic), math.sqrt(1 / len(a) + 1 / len(b))
    low, high = max(0.0, value - float(kolmogi(0.025)) * s), min(1.0, value + 0.98 * s)
    return KS(value, low, high, float(found.statistic_location))
