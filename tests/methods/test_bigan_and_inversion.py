"""BiGAN, uniform noise and inversion against problems with a known answer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from medgan_lib import metrics
from medgan_lib.methods import BiGAN, UniformGAN
from medgan_lib.methods.inversion import invert
from medgan_lib.networks import MLP, JointCritic

WINDOW = (0.0, 0.72)


class Pair(nn.Module):
    """A critic of vectors (x, z); ``blind`` is the mutant that looks at x alone."""

    per_sample = True

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.net, self.blind = MLP(4, 1, width=64, depth=2), blind

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.net(torch.cat([x, 0 * z if self.blind else z], dim=1)).squeeze(1)


class Linear(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)
        self.latent = 2


def linear_problem(blind: bool = False, steps: int = 1200) -> tuple[BiGAN, Tensor]:
    """x = A u + b with u normal, and players that are linear: the pairs fit only where E is G's inverse."""
    torch.manual_seed(0)
    factor, shift = torch.tensor([[1.5, 0.0], [0.6, 0.5]]), torch.tensor([0.5, -1.0])
    method = BiGAN(Linear(), Linear(), Pair(blind), "lsgan", n_critic=2, lr=2e-3, betas=(0.0, 0.99), ema=0.99)
    for _ in range(steps):
        method.step({"x": torch.randn(256, 2) @ factor.T + shift})
    return method, torch.randn(2000, 2) @ factor.T + shift


def test_bigan_learns_a_linear_problem_and_its_inverse():
    """E is the inverse of G's matrix and shift, though it never saw the z of a sample."""
    method, x = linear_problem()
    G, E = method.sampler, method.E_ema
    assert set(method.networks()) == {"G", "E", "D", "G_ema", "E_ema"} and not E.weight.equal(method.E.weight)
    assert (G(method.encode(x)) - x).square().mean() < 0.03 * x.var(0).mean()
    torch.testing.assert_close(E.weight.detach(), torch.linalg.inv(G.weight), atol=0.15, rtol=0.15)
    torch.testing.assert_close(E.bias.detach(), -torch.linalg.inv(G.weight) @ G.bias, atol=0.15, rtol=0.15)
    assert G.weight.norm() > 0.5 and method.encode(x).std(0).min() > 0.3  # and no collapse


def test_a_critic_that_ignores_z_is_rejected():
    """Mutant: without the pair, samples may still come out right, but E learns nothing about G's inverse."""
    method, x = linear_problem(blind=True, steps=200)
    assert (method.sampler(method.encode(x)) - x).square().mean() > 0.4 * x.var(0).mean()
    method.zero_grad()
    method.update_G(16, x[:16])
    assert all(p.grad is None or not p.grad.any() for p in method.E.parameters())


@pytest.mark.parametrize("player", ["D", "G"])
def test_updates_are_the_papers_equation(player):
    """Gradients of both updates in float64 against cross-entropy written out, pairs exchanged for G and E."""
    torch.manual_seed(0)
    method = BiGAN(Linear(), Linear(), Pair()).double()
    x = torch.randn(8, 2, dtype=torch.float64)
    other = copy.deepcopy(method)
    method.noise = lambda n: torch.ones(n, 2, dtype=torch.float64)
    z, (of_data, of_noise) = method.noise(8), ((1.0, 0.0) if player == "D" else (0.0, 1.0))
    loss = sum(
        binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
        for logits, label in ((other.D(x, other.E(x)), of_data), (other.D(other.G(z), z), of_noise))
    )
    loss.backward()
    history = method.update_D(x, x) if player == "D" else method.update_G(8, x)
    torch.testing.assert_close(history[f"loss_{player}"], loss.detach())
    moved = {"D"} if player == "D" else {"G", "E"}
    for name in ("G", "E", "D"):
        for mine, wanted in zip(getattr(method, name).parameters(), getattr(other, name).parameters(), strict=True):
            if name in moved:
                torch.testing.assert_close(mine.grad, wanted.grad)
                assert not torch.equal(mine, wanted)
            else:
                assert mine.grad is None and torch.equal(mine, wanted)


def test_joint_critic_sees_both_and_whether_they_fit():
    """It learns to tell pairs that fit from the same x and z dealt out at random; one that adds up two scores can't."""
    torch.manual_seed(0)
    D = JointCritic((1, 8, 8), 4, width=4, hidden=64)
    optimizer = torch.optim.Adam(D.parameters(), 3e-3)

    def accuracy(train: bool) -> float:
        z = torch.randn(128, 4)
        x = z.sign().reshape(-1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
        x = x + 0.1 * torch.randn_like(x)
        logits = torch.cat([D(x, z), D(x, z.roll(1, 0))])
        label = torch.arange(2.0).repeat_interleave(128)
        if train:
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits, label).backward()
            optimizer.step()
        return ((logits > 0) == label.bool()).float().mean().item()

    for _ in range(400):
        accuracy(True)
    with torch.no_grad():
        assert sum(accuracy(False) for _ in range(5)) / 5 > 0.75


def test_uniform_noise_fills_the_box():
    method = UniformGAN(MLP(3, 2, width=4), MLP(2, 1, width=4))
    z = method.noise(20000, torch.Generator().manual_seed(0))
    assert z.min() < -0.99 and z.max() > 0.99 and z.abs().max() <= 1
    assert z.var().item() == pytest.approx(1 / 3, rel=0.02)
    method.step({"x": torch.randn(8, 2)})


class Known(nn.Module):
    """x = tanh(A z) with a well-conditioned A: one z for each image."""

    def __init__(self, latent: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.latent = latent
        self.A = nn.Parameter(torch.linalg.qr(torch.randn(12, latent))[0])

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.A.T)


class Folded(Known):
    """Even in a sum of waves of z: many dips beside the true ones."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([torch.cos(7 * z), torch.sin(4 * z + 1), z.abs()], dim=1)


def box(latent: int):
    return lambda n, generator: 2 * torch.rand(n, latent, generator=generator) - 1


@pytest.mark.parametrize("clipping", [None, "standard", "stochastic"])
def test_inversion_recovers_a_known_code(clipping):
    G, z = Known(), box(4)(20, torch.Generator().manual_seed(1))
    found = invert(G, G(z).detach(), noise=box(4), steps=300, clipping=clipping,
                   restarts=3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(found.z, z, atol=0.02, rtol=0)
    torch.testing.assert_close(found.x, G(found.z))
    assert G.training and G.A.requires_grad and G.A.grad is None
    if clipping:
        assert found.all_z.abs().max() <= 1


def test_clipping_keeps_in_the_box_what_lies_outside_of_it():
    """x = tanh(A z) of a z outside: plain descent leaves the box, the others cannot."""
    G, z = Known(), torch.full((6, 4), 1.5)
    found = {c: invert(G, G(z).detach(), noise=box(4), steps=150, clipping=c,
                       generator=torch.Generator().manual_seed(2)) for c in (None, "standard", "stochastic")}
    torch.testing.assert_close(found[None].z, z, atol=0.15, rtol=0)
    torch.testing.assert_close(found["standard"].z, torch.ones(6, 4), atol=0.05, rtol=0)
    assert found["stochastic"].all_z.abs().max() <= 1


def test_restarts_never_hurt_and_help_among_many_dips():
    G, z = Folded(3), box(3)(40, torch.Generator().manual_seed(1))
    found = invert(G, G(z), noise=box(3), steps=150, restarts=8, clipping="stochastic",
                   generator=torch.Generator().manual_seed(2))
    best = found.all_errors.cummin(0).values
    assert bool((best.diff(dim=0) <= 0).all()) and torch.equal(best[-1], found.error)
    torch.testing.assert_close(found.error, (G(found.z) - G(z)).square().mean(1))
    solved = (best < 1e-4).float().mean(1)
    assert solved[-1] > solved[0] + 0.1
    again = invert(G, G(z), noise=box(3), steps=150, restarts=8, clipping="stochastic",
                   generator=torch.Generator().manual_seed(2))
    assert torch.equal(again.z, found.z)


def test_inversion_takes_another_loss():
    """A loss that looks at the first four values only, of a generator whose others would contradict."""
    G, z = Known(), box(4)(5, torch.Generator().manual_seed(1))
    x = G(z).detach()
    x[:, 8:] = 0.9
    found = invert(G, x, noise=box(4), steps=200, loss=lambda g, x: (g - x)[:, :8].square().sum(1))
    torch.testing.assert_close(G(found.z)[:, :8], x[:, :8], atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"restarts": 0}, "restarts must be at least 1, not 0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"clipping": "hard"}, "unknown clipping 'hard'; there are None, standard, stochastic"),
        ({"noise": box(5)}, r"noise has shape \(2, 5\), but G takes codes \(2, 4\)"),
        ({"x": torch.zeros(2, 7)}, r"images of shape \(7,\) for a generator of \(12,\)"),
    ],
)
def test_impossible_inversions_say_so(options, message):
    with pytest.raises(ValueError, match=message):
        invert(Known(), **({"x": torch.zeros(2, 12), "noise": box(4)} | options))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BiGAN(MLP(2, 2), MLP(2, 2), Pair(), "gan"), "objective 'gan' isn't played with pairs"),
        (lambda: BiGAN(MLP(2, 2), MLP(2, 2), Pair(), penalty=1.0), "penalty must be 0 for pairs, not 1.0"),
        (lambda: JointCritic((1, 8, 8), 4)(torch.zeros(2, 1, 8, 8), torch.zeros(2, 5)), r"codes of shape \(2, 5\)"),
        (lambda: JointCritic((1, 8, 8), 4)(torch.zeros(2, 1, 9, 8), torch.zeros(2, 4)), "images of shape"),
        (lambda: metrics.slant(torch.zeros(2, 28, 28)), r"images must be \(n, 1, h, w\), not \(2, 28, 28\)"),
        (lambda: metrics.brain_signal(torch.zeros(2, 2, 8, 8), WINDOW, 1.0), "images must be"),
    ],
)
def test_bad_input_says_so(make, message):
    with pytest.raises(ValueError, match=message):
        make()
