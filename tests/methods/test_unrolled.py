"""The unrolled GAN differentiates through D's answer, and only G profits from it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medgan_lib.methods import GAN, UnrolledGAN
from medgan_lib.networks import MLP


@pytest.fixture(autouse=True)
def in_double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(k: int, objective: str = "gan", method: type = UnrolledGAN, seed: int = 0, **options) -> UnrolledGAN:
    torch.manual_seed(seed)
    return method(MLP(3, 2, 8, 1), MLP(2, 1, 8, 1), objective, k=k, **options)


class Detached(UnrolledGAN):
    """The bug of many copies on the web: D is unrolled, but G's gradient doesn't see how the answer depends on G."""

    def unroll(self, x, fake, *y):
        before, _, theta = super().unroll(x, fake.detach(), *y)
        return before, self.loss_D(theta.detach(), x, fake, *y), theta


class GradientOnly(UnrolledGAN):
    """A subtler one: the answer depends on G, but D's gradient is taken for a constant in it."""

    def unroll(self, x, fake, *y):
        grad = torch.autograd.grad
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.autograd, "grad", lambda *a, create_graph, **b: [g.detach() for g in grad(*a, **b)])
            return super().unroll(x, fake, *y)


def answered(method: UnrolledGAN, x: torch.Tensor, fake: torch.Tensor) -> float:
    """D's loss after k steps of a real optimizer that goes on from where D's is; no graph, no formula of ours."""
    D = copy.deepcopy(method.D)
    opt = torch.optim.Adam(D.parameters(), method.lr, method.betas)
    opt.load_state_dict(copy.deepcopy(method.opt_D.state_dict()))

    def loss() -> torch.Tensor:
        return nn.functional.softplus(-D(x)).mean() + nn.functional.softplus(D(fake)).mean()

    for _ in range(method.k):
        opt.zero_grad()
        loss().backward()
        opt.step()
    return loss().item()


def gradient_and_truth(method: UnrolledGAN) -> tuple[torch.Tensor, torch.Tensor]:
    """Of D's loss at D_k by the generated samples: what `unroll` says, and finite differences of `answered`."""
    torch.manual_seed(1)
    x, fake = torch.randn(2, 4, 2)
    for _ in range(3):  # D's optimizer has a past
        method.step({"x": torch.randn(4, 2)})
    fake.requires_grad_(True)
    _, after, _ = method.unroll(x, fake)
    (gradient,) = torch.autograd.grad(after, fake)
    h, truth = 1e-5, torch.zeros(8)
    for i, step in enumerate(h * torch.eye(8)):
        up, down = (answered(method, x, fake.detach() + sign * step.reshape(4, 2)) for sign in (1, -1))
        truth[i] = (up - down) / (2 * h)
    assert after.item() == pytest.approx(answered(method, x, fake.detach()), rel=1e-9)
    return gradient.flatten(), truth


@pytest.mark.parametrize("k", [0, 1, 2, 5])
def test_gradient_runs_through_the_unrolled_updates(k):
    gradient, truth = gradient_and_truth(make(k, lr=0.02))
    torch.testing.assert_close(gradient, truth, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("mutant", [Detached, GradientOnly])
def test_a_detached_answer_is_rejected(mutant):
    torch.manual_seed(0)
    gradient, truth = gradient_and_truth(make(5, method=mutant, lr=0.02))
    assert (gradient - truth).norm() > 0.02 * truth.norm()


class Slope(nn.Module):
    """D(x) = w x without a bias, for a game that can be solved by hand."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return self.w * x


def test_a_quadratic_game_by_hand():
    """LSGAN, x = 1, fake = g: D's loss is (w - 1)^2 + (w g)^2, so w_1 = w - 0.1 (2 (w - 1) + 2 w g^2).

    With betas (0, 0) and an eps far above every gradient, Adam's step is the gradient times lr / eps.
    """
    method = UnrolledGAN(MLP(1, 1, 4, 1), Slope(), "lsgan", k=1, lr=1e8, betas=(0.0, 0.0))
    method.opt_D.param_groups[0]["eps"] = 1e9
    rate, w, g = 0.1, 0.7, 1.5
    fake = torch.tensor([[g]], requires_grad=True)
    _, _, w_found = method.unroll(torch.ones(1, 1), fake)
    (found,) = torch.autograd.grad((w_found * fake - 1).square().sum(), fake)
    w_1 = w - rate * (2 * (w - 1) + 2 * w * g * g)
    by_hand = 2 * (w_1 * g - 1) * (w_1 - rate * 4 * w * g * g)
    assert w_found.item() == pytest.approx(w_1, rel=1e-5) and found.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("objective", ["gan", "gan-ma", "lsgan"])
def test_without_unrolling_it_is_the_plain_gan(objective):
    plain = make(0, objective)
    plain.__class__ = GAN
    methods = plain, make(0, objective)
    for method in methods:
        torch.manual_seed(2)
        for _ in range(20):
            method.step({"x": torch.randn(8, 2)})
    for one, other in zip(*(m.parameters() for m in methods), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("k", [0, 3])
def test_D_keeps_its_weights_and_its_optimizer(k):
    method = make(k)
    method.step({"x": torch.randn(8, 2)})
    before = copy.deepcopy((method.D.state_dict(), method.opt_D.state_dict(), method.G.state_dict()))
    grads = [p.grad.clone() for p in method.D.parameters()]
    history = method.update_G_against_answer(torch.randn(8, 2))
    torch.testing.assert_close(method.D.state_dict(), before[0], rtol=0, atol=0)
    torch.testing.assert_close(method.opt_D.state_dict()["state"], before[1]["state"], rtol=0, atol=0)
    assert all(torch.equal(p.grad, g) for p, g in zip(method.D.parameters(), grads, strict=True))
    assert all((value != before[2][name]).any() for name, value in method.G.state_dict().items())
    assert history["unrolled"] > 0 if k else history["unrolled"] == 0


def test_a_weight_without_a_gradient_does_no_harm():
    """A unit that never fires has a second moment of 0, whose root has no derivative."""
    method = make(4)
    method.D[1] = nn.ReLU()
    with torch.no_grad():
        method.D[0].bias[0] = -100.0
    for _ in range(2):
        method.step({"x": torch.randn(8, 2)})
    assert all(p.isfinite().all() for p in method.parameters())


def test_a_generator_learns_against_the_unrolled_D():
    torch.manual_seed(0)
    method = UnrolledGAN(MLP(2, 1, 16, 1), MLP(1, 1, 16, 1), k=2, lr=3e-3)
    for _ in range(300):
        method.step({"x": 1.5 + 0.5 * torch.randn(64, 1)})
    assert abs(method.G(method.noise(2000)).mean() - 1.5) < 0.4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": -1}, "k must be 0 or more, not -1"),
        ({"k": 1, "objective": "wgan"}, "one update of D a step, without penalty and without clipping"),
        ({"k": 1, "objective": "wgan-gp"}, "without penalty"),
        ({"k": 1, "n_critic": 2}, "one update of D a step"),
        ({"k": 1, "objective": "dcgan"}, "unknown objective 'dcgan'"),
    ],
    ids=str,
)
def test_wrong_options_say_so(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
