"""Stacked networks train as if each were alone, and minibatch discrimination is the paper's formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medgan_lib.methods import GAN
from medgan_lib.networks import MLP, MinibatchDiscrimination, StackedMLP
from medgan_lib.objectives import gradient_penalty

STACK, N = 3, 8


def pairs(inputs: int = 2, outputs: int = 1) -> tuple[StackedMLP, list[MLP]]:
    torch.manual_seed(0)
    stacked = StackedMLP(STACK, inputs, outputs, 16, 2)
    torch.manual_seed(0)
    return stacked, [MLP(inputs, outputs, 16, 2) for _ in range(STACK)]


def test_starts_from_the_weights_of_separate_networks():
    stacked, mlps = pairs()
    x = torch.randn(STACK * N, 2)
    alone = torch.cat([mlp(part) for mlp, part in zip(mlps, x.chunk(STACK), strict=True)])
    torch.testing.assert_close(stacked(x), alone)
    torch.testing.assert_close(stacked.alone(1)(x), mlps[1](x), rtol=0, atol=0)
    assert not hasattr(stacked, "per_sample")


def test_no_copy_sees_anothers_samples():
    stacked, _ = pairs()
    x = torch.randn(STACK * N, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(stacked(x)[N : 2 * N].sum(), x)
    assert gradient[N : 2 * N].abs().min() > 0 and gradient[:N].abs().max() == gradient[2 * N :].abs().max() == 0


@pytest.mark.parametrize("objective", ["gan-ma", "wgan", "wgan-gp"])
def test_every_copy_trains_as_if_alone(objective):
    """In double precision: the same weights as of GANs trained one by one whose Adam has an eps of STACK times 1e-8."""
    torch.manual_seed(0)
    G, D = StackedMLP(STACK, 4, 2, 16, 2).double(), StackedMLP(STACK, 2, 1, 16, 2).double()
    alone = [GAN(G.alone(i), D.alone(i), objective, lr=1e-3) for i in range(STACK)]
    together = GAN(G, D, objective, lr=1e-3)
    for method in alone:
        for optimizer in method.optimizers().values():
            optimizer.param_groups[0]["eps"] *= STACK
    for _ in range(25):
        x, epsilon = torch.randn(STACK * N, 2).double(), torch.rand(STACK * N, 1).double()
        noise = torch.randn(2, STACK * N, 4).double()
        for i, method in enumerate([together, *alone]):
            part = slice(None) if i == 0 else slice((i - 1) * N, i * N)
            z = iter(noise[:, part])
            method.noise = lambda n, z=z: next(z)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch, "rand", lambda *_, part=part, epsilon=epsilon, **__: epsilon[part])
                method.step({"x": x[part]})
    for i, method in enumerate(alone):
        for stacked, single in ((G, method.G), (D, method.D)):
            for name, value in stacked.alone(i).state_dict().items():
                torch.testing.assert_close(value, single.state_dict()[name], rtol=1e-7, atol=1e-9)


def test_each_sample_has_its_own_penalty():
    stacked, mlps = pairs()
    x, fake = torch.randn(2, STACK * N, 2)
    torch.manual_seed(3)
    together = gradient_penalty(stacked, x, fake)
    torch.manual_seed(3)
    epsilon = torch.rand(STACK * N, 1)
    norms = []
    for i, one in enumerate(torch.lerp(fake, x, epsilon)):
        one = one[None].requires_grad_(True)
        norms.append(torch.autograd.grad(mlps[i // N](one).sum(), one)[0].norm())
    torch.testing.assert_close(together, (torch.stack(norms) - 1).square().mean())


@pytest.mark.parametrize("n", [0, 7, 10])
def test_samples_that_cannot_be_dealt_out(n):
    with pytest.raises(ValueError, match=f"{n} samples cannot be dealt out to 3 copies: give a multiple of 3"):
        pairs()[0](torch.randn(n, 2))
    with pytest.raises(ValueError, match=f"{n} samples cannot be dealt out to 3 copies"):
        MinibatchDiscrimination(2, stack=STACK)(torch.randn(n, 2))


@pytest.mark.parametrize("make", [lambda: StackedMLP(0, 2, 1), lambda: MinibatchDiscrimination(2, stack=0)])
def test_stack_below_one(make):
    with pytest.raises(ValueError, match="stack must be at least 1, not 0"):
        make()


# ---------------------------------------------------------------- minibatch discrimination


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
    torch.testing.assert_close(out[:, 5:].tolist(), similarity(f.tolist(), layer.T[0].detach()))


def test_a_stack_looks_only_within_its_copy():
    torch.manual_seed(0)
    layer, f = MinibatchDiscrimination(5, 4, 3, stack=STACK).double(), torch.randn(STACK * N, 5).double()
    for i, part in enumerate(f.chunk(STACK)):
        expected = torch.tensor(similarity(part.tolist(), layer.T[i].detach()), dtype=torch.float64)
        torch.testing.assert_close(layer(f)[i * N : (i + 1) * N, 5:], expected)


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
