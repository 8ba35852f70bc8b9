"""The Kolmogorov-Smirnov distance against scipy and by hand, and its interval against experiments."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import ks_2samp

from medgan_lib.metrics import kolmogorov_smirnov

F64 = torch.float64


def test_the_distance_is_that_of_scipy() -> None:
    draw = torch.Generator().manual_seed(0)
    for n, m, shift, ties in ((50, 50, 0.5, False), (30, 200, 0.0, False), (40, 60, 0.3, True)):
        a, b = torch.randn(n, generator=draw, dtype=F64), torch.randn(m, generator=draw, dtype=F64) + shift
        if ties:
            a, b = (x.mul(2).round() for x in (a, b))
        found, theirs = kolmogorov_smirnov(a, b), ks_2samp(a.numpy(), b.numpy())
        assert found.value == pytest.approx(theirs.statistic, abs=1e-12)
        gap = (a <= found.at).double().mean() - (b <= found.at).double().mean()
        assert abs(float(gap)) == pytest.approx(found.value, abs=1e-12)
    same = kolmogorov_smirnov(a, a)
    assert (same.value, same.low) == (0, 0)
    apart = kolmogorov_smirnov(a, a + 100)
    assert (apart.value, apart.high) == (1, 1)


def test_the_distance_by_hand() -> None:
    a, b = torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.5, 2.5, 5.0])
    found = kolmogorov_smirnov(a, b)  # F - G: 1/4, 1/2, 1/2 - 2/3, 3/4 - 2/3, 1 - 2/3, 0
    assert (found.value, found.at) == (0.5, 2.0)


@pytest.mark.parametrize("shift", [0.0, 0.25, 1.0])
def test_the_interval_holds_the_truth(shift: float) -> None:
    truth = math.erf(shift / 2 / math.sqrt(2))  # of two unit Gaussians
    draw = torch.Generator().manual_seed(1)
    held, width = 0, 0.0
    for _ in range(300):
        found = kolmogorov_smirnov(torch.randn(200, generator=draw), torch.randn(150, generator=draw) + shift)
        held += found.low <= truth <= found.high
        width += (found.high - found.low) / 300
    assert held / 300 >= 0.95 and width < 0.3


def test_distances_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 values"):
        kolmogorov_smirnov(torch.zeros(1), torch.zeros(5))
    with pytest.raises(ValueError, match="at least 2 values"):
        kolmogorov_smirnov(torch.zeros(4, 2), torch.zeros(5))
    with pytest.raises(ValueError, match="not finite"):
        kolmogorov_smirnov(torch.tensor([0.0, math.nan]), torch.zeros(5))
