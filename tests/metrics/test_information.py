"""Mutual information against tables known by hand and scikit-learn, and its gap."""

from __future__ import annotations

import math

import pytest
import torch

from medgan_lib import metrics


def uniform(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_information_of_a_table_known_by_hand():
    a = torch.tensor([0] * 4 + [1] * 4)[:, None]
    b = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])[:, None]
    joint = {(0, 0): 3 / 8, (0, 1): 1 / 8, (1, 1): 4 / 8}
    expected = sum(p * math.log(p / (0.5 * (3 / 8 if j == 0 else 5 / 8))) for (_, j), p in joint.items())
    assert metrics.mutual_information(a, b).item() == pytest.approx(expected, rel=1e-12)
    assert metrics.mutual_information(a, a).item() == pytest.approx(math.log(2), rel=1e-12)


def test_information_agrees_with_scikit_learn_and_sees_order_only():
    from sklearn.metrics import mutual_info_score

    a, b = torch.randint(6, (500, 1)), torch.randint(3, (500, 1))
    expected = mutual_info_score(a.flatten().numpy(), b.flatten().numpy())
    assert metrics.mutual_information(a, b).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    v = uniform(500, 1)
    same = metrics.mutual_information(v.exp() ** 3, v + 0.3)
    torch.testing.assert_close(metrics.mutual_information(v, v + 0.3), same)
    assert metrics.mutual_information(torch.full((500, 1), 2.0), v).item() == 0


def test_gap_is_one_for_a_code_each_and_zero_for_noise_and_for_a_shared_code():
    v = uniform(5000, 2)
    assert metrics.mutual_information_gap(v.flip(1).exp(), v).value == pytest.approx(1, abs=0.02)
    assert metrics.mutual_information_gap(v.repeat(1, 2), v).value == pytest.approx(0, abs=1e-9)
    noise = metrics.mutual_information_gap(uniform(5000, 2, 1), v)
    assert noise.value < 0.01 and noise.value == pytest.approx(noise.floor, abs=0.005)
    turned = torch.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1]], 1)  # all is there, and each half is in both
    assert metrics.mutual_information_gap(turned, v).value < 0.02


def test_gap_of_a_factor_half_known():
    """Two codes of four bits of one factor: 2 bits in the first, 1 bit in the second, so a gap of 1/4."""
    v = torch.arange(1600)[:, None] % 16
    codes = torch.cat([v // 4, v // 8], 1)
    gap = metrics.mutual_information_gap(codes, v)
    assert gap.value == pytest.approx(0.25, rel=1e-9)
    torch.testing.assert_close(gap.information, math.log(2) * torch.tensor([[2.0], [1.0]]).double())


def test_floor_grows_as_samples_get_fewer():
    floors = [metrics.mutual_information_gap(uniform(n, 4, 1), uniform(n, 3)).floor for n in (100, 400, 1600)]
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0


@pytest.mark.parametrize(
    ("codes", "factors", "options", "message"),
    [
        (torch.zeros(9, 1), uniform(9, 1), {"bins": 3}, "at least two codes"),
        (uniform(9, 2), torch.zeros(9, 1), {"bins": 3}, "factor 0 never changes"),
        (uniform(9, 2), uniform(8, 1), {"bins": 3}, r"not \(9, 2\) and \(8, 1\)"),
        (uniform(9, 2), uniform(9, 1), {}, "bins is 10"),
        (uniform(9, 2) / 0, uniform(9, 1), {"bins": 3}, "not finite"),
    ],
)
def test_gap_refuses_what_it_cannot_judge(codes, factors, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.mutual_information_gap(codes, factors, **options)
