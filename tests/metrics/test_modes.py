"""Modes of perfect and faulty generators, and what chance reaches."""

import math

import pytest
import torch

from medgan_lib import metrics
from medgan_lib.metrics import modes

RING = torch.tensor([[math.cos(t), math.sin(t)] for t in torch.arange(8) * math.pi / 4]).double()


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_modes_of_a_perfect_generator():
    samples = RING[torch.arange(8000) % 8] + 0.02 * normal(8000, 2)
    result = metrics.modes_covered(samples, RING, 0.02)
    assert result.covered == 8 and result.kl < 1e-3
    assert result.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.004)
    assert result.counts.sum() == round(result.high_quality * 8000)


def test_modes_of_faulty_generators():
    collapsed = metrics.modes_covered(RING[:1].repeat(100, 1), RING, 0.02)
    assert (collapsed.covered, collapsed.high_quality) == (1, 1) and collapsed.kl == pytest.approx(math.log(8))
    half = metrics.modes_covered(RING[:4].repeat(50, 1), RING, 0.02)
    assert half.covered == 4 and half.kl == pytest.approx(math.log(2))
    between = metrics.modes_covered(torch.zeros(100, 2), RING, 0.02)
    assert (between.covered, between.high_quality) == (0, 0) and between.kl == pytest.approx(math.log(8))
    uneven = metrics.modes_covered(torch.cat((RING[:1].repeat(3, 1), RING[1:2])), RING[:2], 0.02)
    assert uneven.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_modes_count_from_a_minimum_and_within_a_radius():
    samples = torch.cat((RING[:1].repeat(5, 1), RING[1:2]))
    assert metrics.modes_covered(samples, RING, 0.02, min_count=2).covered == 1
    near = RING[:1] + torch.tensor([[0.05, 0.0]])  # 2.5 σ away
    assert metrics.modes_covered(near, RING, 0.02).high_quality == 1
    assert metrics.modes_covered(near, RING, 0.02, within=2).high_quality == 0
    with pytest.raises(ValueError, match="sigma must be positive"):
        metrics.modes_covered(near, RING, 0.0)


def ring(n, sigma=0.02):
    return 2 * RING[torch.arange(n) % 8] + sigma * normal(n, 2)


def grid(n, sigma=0.05):
    centres = torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3)).double()
    return centres, centres[torch.arange(n) % 25] + sigma * normal(n, 2)


def test_what_chance_reaches_on_25_gaussians():
    """A mode counts from ten samples on; by the Gaussian's density its 25 modes hold 28 to 4 of 5,000 samples."""
    centres, data = grid(5000)
    found = metrics.modes_by_chance(data, centres, 0.05, min_count=10)
    assert 12 <= found.gaussian.covered <= 16 and found.gaussian.high_quality == pytest.approx(0.06, abs=0.01)
    assert 20 <= found.square.covered <= 24 and found.square.high_quality == pytest.approx(0.0736, abs=0.01)
    anywhere = metrics.modes_by_chance(data, centres, 0.05)
    assert anywhere.square.covered == 25  # one sample is enough for chance, too
    assert metrics.modes_covered(data, centres, 0.05, min_count=10).covered == 25


def test_what_chance_reaches_on_a_ring():
    """Of a circle through 8 modes that are 1.53 apart, 2 * 8 * 3 * 0.02 / (4 pi) is within three of their sigmas."""
    found = metrics.modes_by_chance(ring(4000), 2 * RING, 0.02)
    assert found.circle.covered == 8
    assert found.circle.high_quality == pytest.approx(2 * 8 * 0.06 / (4 * math.pi), abs=0.01)
    near = metrics.modes_by_chance(ring(4000), 2 * RING, 0.02, within=15)
    assert near.circle.covered == 8 and near.circle.high_quality == pytest.approx(0.38, abs=0.02)
    assert found.gaussian.high_quality < 0.02 and found.square.high_quality < 0.02


def test_chance_has_the_moments_of_the_data(monkeypatch):
    seen = []
    real = modes.modes_covered
    monkeypatch.setattr(modes, "modes_covered", lambda x, *args, **more: seen.append(x) or real(x, *args, **more))
    data = normal(4000, 2) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]).double() + torch.tensor([3.0, -1.0])
    metrics.modes_by_chance(data, torch.zeros(1, 2), 0.1, n=20000, seed=3)
    gaussian, square, circle = seen
    for samples in (gaussian, square):
        torch.testing.assert_close(samples.mean(0), data.mean(0), atol=0.05, rtol=0)
        torch.testing.assert_close(samples.T.cov(), data.T.cov(), atol=0.12, rtol=0.03)
    radius = (circle - data.mean(0)).norm(dim=1)
    torch.testing.assert_close(radius, data.T.cov().trace().sqrt().expand(20000))
    with pytest.raises(ValueError, match="too few samples: 2; at least 3"):
        metrics.modes_by_chance(data[:2], torch.zeros(1, 2), 0.1)
