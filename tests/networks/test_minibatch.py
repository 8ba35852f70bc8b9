"""Minibatch discrimination is the paper's formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medgan_lib.methods import GAN
from medgan_lib.networks import MLP, MinibatchDiscrimination

N = 8


def similarity(f: list[list[float]], T: torch.Tensor) -> list[list[float]]:
    """Salimans et al. 2016, Sec. 3.2, one number after the other."""
    A, B, C = T.shape
    M = [[[sum(one[a] * T[a, b, c].item() for a in range(A)) for c in range(C)] for b in range(B)] for one in f]
    return [
        [sum(math.exp(-sum(abs(M[i][b][c] - other[b][c]) for c in range(C))) for other in M) for b in range(B)]
        for i in range(len(f))
    ]


def test_similarities_are_those_of_the_paper():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(5, 4, 3).double()
    f = torch.randn(6, 5, dtype=torch.float64)
    out = layer(f)
    assert torch.equal(out[:, :5], f)
    torch.testing.assert_close(out[:, 5:].tolist(), similarity(f.tolist(), layer.T.detach()))


def test_alike_and_apart_are_the_two_ends():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(5, 4, 3)
    torch.testing.assert_close(layer(torch.ones(N, 5))[:, 5:], torch.full((N, 4), float(N)))
    torch.testing.assert_close(layer(1e4 * torch.randn(N, 5))[:, 5:], torch.ones(N, 4))


def critic() -> nn.Module:
    return nn.Sequential(MLP(2, 16, 16, 1), nn.LeakyReLU(0.2), MinibatchDiscrimination(16, 8, 3), nn.Linear(24, 1))


def test_real_and_generated_samples_are_separate_minibatches():
    """A D with the layer must never judge both in one pass; a planted ``per_sample`` gives other logits."""
    torch.manual_seed(0)
    method = GAN(MLP(3, 2, 16), critic())
    x, fake = torch.randn(N, 2), torch.randn(N, 2) + 3
    apart = torch.cat([method.D(x), method.D(fake)])
    torch.testing.assert_close(torch.cat(method.judge(x, fake)), apart)
    method.D.per_sample = True
    assert (torch.cat(method.judge(x, fake)) - apart).abs().max() > 1e-3


def test_D_learns_what_no_sample_shows_alone():
    """Real minibatches lie on two points, generated ones on one of them at a time: a sample may be either."""
    found = {}
    for name, layer in (("with", MinibatchDiscrimination(16, 8, 3)), ("without", nn.Identity())):
        torch.manual_seed(0)
        D = nn.Sequential(MLP(1, 16, 16, 1), nn.LeakyReLU(0.2), layer, nn.Linear(24 if name == "with" else 16, 1))
        opt = torch.optim.Adam(D.parameters(), 5e-3)
        for _ in range(150):
            real, fake = torch.randn(16, 1).sign(), torch.randn(1, 1).sign().expand(16, 1)
            loss = nn.functional.softplus(-D(real)).mean() + nn.functional.softplus(D(fake)).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
        found[name] = loss.item()
    assert found["with"] < 0.3 and found["without"] > 1.2  # 2 log 2 = 1.39 is guessing


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 1)])
def test_other_features_than_announced(shape):
    with pytest.raises(ValueError, match=r"expected \(n, 5\)"):
        MinibatchDiscrimination(5)(torch.zeros(shape))


def test_sizes_below_one():
    with pytest.raises(ValueError, match="must be at least 1: 5, 0, 4"):
        MinibatchDiscrimination(5, 0)
