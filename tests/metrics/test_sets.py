"""Distances between sets against closed forms, hand-computed cases and generators whose faults are known."""

import math
import warnings

import numpy as np
import pytest
import torch

from medgan_lib import metrics
from medgan_lib.metrics import sets


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_moments(mean, covariance, n=200, seed=0):
    """A sample whose empirical mean and covariance are exactly the given ones."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False)
    return (torch.linalg.cholesky(covariance) @ white).T + mean


def test_frechet_equals_the_closed_form():
    # Commuting covariances: the distance is Σ (μ − μ')² + Σ (σ − σ')².
    a = with_moments(torch.tensor([0.0, 1.0, 2.0]).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()))
    b = with_moments(torch.tensor([1.0, 1.0, 0.0]).double(), torch.diag(torch.tensor([4.0, 4.0, 1.0]).double()), 300, 1)
    assert metrics.frechet(a, b) == pytest.approx(1 + 4 + 1 + 0 + 4, rel=1e-9)


def test_frechet_with_covariances_that_do_not_commute():
    from scipy.linalg import sqrtm

    s = torch.tensor([[2.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.5]]).double()
    t = torch.tensor([[1.0, -0.5, 0.2], [-0.5, 3.0, 0.0], [0.2, 0.0, 1.0]]).double()
    zero = torch.zeros(3).double()
    expected = float(s.trace() + t.trace() - 2 * np.trace(sqrtm((s @ t).numpy())).real)
    assert metrics.frechet(with_moments(zero, s), with_moments(zero, t, seed=1)) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_the_usual_one():
    from scipy.linalg import sqrtm

    a, b = normal(400, 16), 1.5 * normal(300, 16, seed=1) + 0.3
    assert metrics.frechet(a, b) == pytest.approx(6.176676053066188, rel=1e-12)  # by torchmetrics 1.9
    S, T = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    written_out = (a.mean(0) - b.mean(0)).square().sum().item() + np.trace(S + T - 2 * sqrtm(S @ T)).real
    assert metrics.frechet(a, b) == pytest.approx(written_out, rel=1e-10)


def test_frechet_of_features_that_hardly_vary():
    """Variances from 1 to 1e-16: the square root of an eigenvalue of a product would lose half of the digits."""
    width = torch.logspace(0, -8, 9, dtype=torch.float64)
    a, b = (with_moments(torch.zeros(9).double(), torch.eye(9).double(), 300, seed) for seed in (0, 1))
    expected = (width - 2 * width).square().sum().item()
    assert metrics.frechet(a * width, 2 * b * width) == pytest.approx(expected, rel=1e-12)
    assert metrics.frechet(a * width, a * width) == pytest.approx(0, abs=1e-14)


def test_frechet_is_symmetric_zero_on_itself_and_blind_to_shift_and_rotation():
    a, b = normal(300, 8), 2 * normal(250, 8, seed=1)
    value = metrics.frechet(a, b)
    assert metrics.frechet(b, a) == pytest.approx(value, rel=1e-10)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)
    turn = torch.linalg.qr(normal(8, 8, seed=2)).Q
    assert metrics.frechet(a @ turn, b @ turn) == pytest.approx(value, rel=1e-9)
    assert metrics.frechet(a + 1e6, b + 1e6) == pytest.approx(value, rel=1e-6)
    assert metrics.frechet(10 * a, 10 * b) == pytest.approx(100 * value, rel=1e-9)


def test_frechet_of_fewer_samples_than_features_is_real_and_warns():
    a, b = normal(20, 64), normal(30, 64, seed=1) + 1
    with pytest.warns(UserWarning, match="20 and 30 samples with 64 features is badly biased"):
        value = metrics.frechet(a, b)
    # Tr (Σ_a Σ_b)^½ is the nuclear norm of the product of the centred samples: an oracle without square roots.
    x, y = (a - a.mean(0)) / 19**0.5, (b - b.mean(0)) / 29**0.5
    cross = torch.linalg.svdvals(x @ y.T).sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + x.square().sum() + y.square().sum() - 2 * cross
    assert value == pytest.approx(expected.item(), rel=1e-6)
    with pytest.warns(UserWarning):
        assert 0 <= metrics.frechet(a, a) < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet(normal(65, 64), normal(65, 64, seed=1))


def test_frechet_sees_a_collapsed_generator():
    real, other = normal(500, 8), normal(500, 8, seed=1)
    score = metrics.with_floor(metrics.frechet, real, other, real[:1] + 0.01 * normal(500, 8, seed=2))
    assert score.value > 20 * score.floor


def test_the_floor_uses_equal_numbers_of_samples():
    seen = []

    def count(a, b):
        seen.append((len(a), len(b)))
        return 0.0

    metrics.with_floor(count, normal(50, 2), normal(30, 2), normal(80, 2))
    metrics.with_floor(count, normal(50, 2), normal(90, 2), normal(80, 2))
    assert seen == [(50, 30), (50, 30), (50, 80), (50, 80)]
    # a perfect generator scores the floor, whatever the number of samples
    score = metrics.with_floor(metrics.frechet, normal(2000, 4), normal(200, 4, seed=1), normal(2000, 4, seed=2))
    assert score.value == pytest.approx(score.floor, abs=0.1)
    ordered = torch.arange(100.0)[:, None]  # the cut must not take the first ones of an ordered set
    score = metrics.with_floor(lambda a, b: b.mean().item(), ordered, ordered, ordered[:50])
    assert 35 < score.floor < 65


def test_w1_in_one_dimension_equals_scipy_and_the_shift():
    from scipy.stats import wasserstein_distance

    a, b = normal(100), normal(70, seed=1) + 1
    assert metrics.wasserstein1(a, b) == pytest.approx(wasserstein_distance(a.numpy(), b.numpy()), rel=1e-12)
    assert metrics.wasserstein1(a[:, None], a[:, None] + 2.5) == pytest.approx(2.5, rel=1e-12)


@pytest.mark.parametrize("d", [2, 5])
def test_w1_in_more_dimensions_equals_the_shift(d):
    a = normal(80, d)
    shift = torch.linspace(-1, 2, d).double()
    shuffled = (a + shift)[torch.randperm(80)]
    assert metrics.wasserstein1(a, shuffled) == pytest.approx(shift.norm().item(), rel=1e-12)
    assert metrics.wasserstein1(a, a.flip(0)) == pytest.approx(0, abs=1e-12)


def test_w1_by_assignment_equals_w1_by_sorting():
    a, b = normal(60), normal(60, seed=1) ** 3
    flat = torch.zeros(60).double()
    expected = metrics.wasserstein1(a, b)
    assert metrics.wasserstein1(torch.stack((a, flat), 1), torch.stack((b, flat), 1)) == pytest.approx(expected)
    two_lines = torch.linspace(0, 1, 50).double()  # the review's two parallel lines: W1 is their distance
    lines = [torch.stack((torch.full_like(two_lines, x), two_lines), 1) for x in (0.0, 0.7)]
    assert metrics.wasserstein1(*lines) == pytest.approx(0.7, rel=1e-12)


def test_w1_needs_equal_numbers_in_more_dimensions():
    with pytest.raises(ValueError, match="equally many samples, not 5 and 6"):
        metrics.wasserstein1(normal(5, 2), normal(6, 2))


def test_prdc_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # radii for k = 1: 1, 1, 2, 7
    fake = torch.tensor([[0.5], [2.0], [50.0]])  # radii: 1.5, 1.5, 48
    # inside: 0.5 lies in the balls of 0 and 1; 2 in those of 1 and 3 (closed); 50 in none
    # recall: 0 (by 0.5 and 50?) |50 − 0| = 50 > 48; 0.5 ± 1.5 holds 0, 1; 2 ± 1.5 holds 1, 3; 50 ± 48 holds 3, 10
    result = metrics.prdc(real, fake, k=1)
    assert result == pytest.approx((2 / 3, 1.0, 4 / 3, 3 / 4))


def test_prdc_recall_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    fake = torch.tensor([[0.2], [0.9], [1.2]])  # radii for k = 1: 0.7, 0.3, 0.3
    assert metrics.prdc(real, fake, k=1) == pytest.approx((1.0, 2 / 4, 6 / 3, 3 / 4))


def test_prdc_of_equal_distributions_meets_theory():
    n, k = 600, 5
    result = metrics.prdc(normal(n, 4), normal(n, 4, seed=1), k)
    coverage = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert result.density == pytest.approx(1, abs=0.06)
    assert result.coverage == pytest.approx(coverage, abs=0.025)


def test_prdc_knows_collapse_noise_and_shift():
    real = normal(400, 6)
    collapsed = metrics.prdc(real, real[:1] + 0.01 * normal(400, 6, seed=1))
    assert collapsed.precision > 0.99 and collapsed.coverage < 0.1 and collapsed.recall < 0.05
    noisy = metrics.prdc(real, 3 * normal(400, 6, seed=1))
    assert noisy.precision < 0.4 and noisy.density < 0.4 and noisy.recall > 0.8
    assert metrics.prdc(real, normal(400, 6, seed=1) + 100) == (0, 0, 0, 0)
    same = metrics.prdc(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)


def test_prdc_does_not_depend_on_the_size_of_its_blocks(monkeypatch):
    real, fake = normal(150, 3), normal(120, 3, seed=1)
    whole = metrics.prdc(real, fake)
    blocks = sets.distances_by_row
    monkeypatch.setattr(sets, "distances_by_row", lambda a, b: blocks(a, b, rows=37))
    assert metrics.prdc(real, fake) == pytest.approx(whole)
