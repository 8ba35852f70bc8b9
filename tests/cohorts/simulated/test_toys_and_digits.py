"""Toy mixtures and digits."""

import math

import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import digits, toys


@pytest.mark.parametrize("name, modes, sigma", [("ring", 8, 0.02), ("grid", 25, 0.05)])
def test_the_modes_of_a_mixture_are_where_they_are_said_to_be(name, modes, sigma):
    made = cohorts.load(name, n=20_000)
    assert made.truth["modes"].shape == (modes, 2) and made.truth["sigma"] == sigma
    away = made.x - made.truth["modes"][made["label"]]
    assert float(away.std()) == pytest.approx(sigma, rel=0.02)
    assert float(away.mean(0).norm()) < 5 * sigma / math.sqrt(20_000)
    expected = 20_000 / modes
    assert (made["label"].bincount() - expected).abs().max() < 5 * math.sqrt(expected)
    distance = torch.cdist(made.truth["modes"], made.truth["modes"]).fill_diagonal_(9)
    assert float(distance.min()) == pytest.approx(4 * math.sin(math.pi / 8) if name == "ring" else 1.0, rel=1e-5)


def test_ring_modes_lie_on_the_circle():
    torch.testing.assert_close(toys.ring_modes(5, 3.0).norm(dim=1), torch.full((5,), 3.0))


@pytest.mark.parametrize("theta", [-0.5, 0.0, 2.0])
def test_lines_are_theta_apart(theta):
    made = cohorts.load("lines", n=4000, theta=theta)
    assert made.x[:, 0].unique().tolist() == [0.0] and made["y"][:, 0].unique().tolist() == [theta]
    assert made.truth["w1"] == abs(theta) and made.truth["jsd"] == (math.log(2) if theta else 0)
    for u in (made.x[:, 1], made["y"][:, 1]):
        assert 0 <= float(u.min()) < 0.01 and 0.99 < float(u.max()) <= 1
    assert abs(float(torch.corrcoef(torch.stack([made.x[:, 1], made["y"][:, 1]]))[0, 1])) < 0.08


def test_digits_are_stratified_and_complete():
    parts = {split: cohorts.load("digits", split) for split in ("train", "val", "test")}
    assert {split: part["label"].bincount().unique().tolist() for split, part in parts.items()} == {
        "train": [350],
        "val": [50],
        "test": [100],
    }
    assert sorted(torch.cat([part.subjects for part in parts.values()]).tolist()) == list(range(5000))


def test_padding_of_digits_is_background_and_can_be_undone():
    small, large = (cohorts.load("digits", "test", size=size) for size in (None, 32))
    assert large.x.shape == (1000, 1, 32, 32)
    assert torch.equal(digits.unpad(large.x), small.x)
    assert float(large.x.sum() - small.x.sum()) == pytest.approx(-1000 * (32**2 - 28**2), rel=1e-4)
    values = small.to_units(small.x)
    torch.testing.assert_close(values, values.round(), atol=1e-3, rtol=0)
    assert (float(values.min()), float(values.max())) == (0, 255)
