"""Nearest samples by hand, and copies among fresh and smooth fakes."""

import numpy as np
import pytest
import torch

from medgan_lib import metrics


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_nearest_by_hand():
    a, b = torch.tensor([[0.0, 0.0], [4.0, 4.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
    distance, index = metrics.nearest(a, b)
    assert distance.tolist() == [1.0, 1.0] and index.tolist() == [1, 0]
    distance, index = metrics.nearest(a, b, k=2)
    assert distance.tolist() == [[1.0, 5.0], [1.0, 5.0]] and index.tolist() == [[1, 0], [0, 1]]
    images, _ = metrics.nearest(torch.zeros(2, 1, 4, 4), torch.ones(3, 1, 4, 4))
    assert images.tolist() == [4.0, 4.0]
    with pytest.raises(ValueError, match="4 neighbours among 3"):
        metrics.nearest(a, b, 4)


def test_nearest_over_many_blocks():
    a, b = normal(2500, 3), normal(40, 3, seed=1)
    distance, index = metrics.nearest(a, b)
    full = torch.cdist(a, b)
    assert torch.equal(index, full.argmin(1)) and torch.allclose(distance, full.min(1).values)


def test_copies_are_flagged_and_fresh_samples_are_not():
    x = normal(1400, 64)
    train, held_out, fresh = x[:600], x[600:1000], x[1000:]
    copies = train[:100] + 0.1 * normal(100, 64, seed=1)
    result = metrics.memorisation(train, held_out, torch.cat((copies, fresh)))
    assert result.copies[:100].all()
    assert result.copies[100:].double().mean() < 0.12
    assert result.share == pytest.approx(result.copies.double().mean().item())
    assert result.false_alarms < 0.12
    assert result.fake.shape == (500,) and result.held_out.shape == (400,)
    assert result.fake[:100].max() < result.held_out.min()


def test_smooth_fakes_are_near_everything_but_no_copies():
    x = normal(1400, 64)
    train, held_out, smooth = x[:600], x[600:1000], 0.5 * x[1000:]
    result = metrics.memorisation(train, held_out, smooth)
    assert result.fake.median() < result.held_out.quantile(0.05)  # by distance alone most would be accused
    assert result.share <= 0.1


def test_false_alarms_are_measured_where_the_alarm_was_not_set():
    rates = [metrics.memorisation(x[:300], x[300:700], x[700:]).false_alarms
             for x in (normal(900, 5, seed=s) for s in range(20))]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.02) and len(set(rates)) > 3


def test_a_held_out_set_with_training_samples_is_refused():
    x = normal(300, 5)
    with pytest.raises(ValueError, match="among the training samples; split by subject"):
        metrics.memorisation(x, x[:100], x)
    with pytest.raises(ValueError, match="10 held-out samples are too few"):
        metrics.memorisation(x, x[:10], x)
