"""Conformance with Table 1 and Eqs. 1-4: our code must pass every check, every planted mutant must fail its part.

The oracles share nothing with the library: mpmath with 60 digits, numerical integration, and gradients by hand.
"""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from medgan_lib.objectives import OBJECTIVES
from pipeline.errata.deviations import Implementation

OURS = Implementation()
# relative error allowed in values and gradients; half precision is widened, only its gradients are rounded
TOLERANCE = {torch.float64: (2e-15, 4e-15), torch.float32: (4e-7, 4e-7), torch.bfloat16: (4e-7, 2**-8)}


# --- oracles ----------------------------------------------------------------------------------------------------


def log_D(l):
    return -mpmath.log1p(mpmath.exp(-l))


def D(l):
    return 1 / (1 + mpmath.exp(-l))


# name -> side -> (value, derivative) of one sample's term of Table 1, as functions of what D returns
LOG = {
    "real": (lambda l: -log_D(l), lambda l: -D(-l)),
    "fake": (lambda l: -log_D(-l), lambda l: D(l)),
}
LINEAR = {
    "real": (lambda v: -v, lambda v: -1),
    "fake": (lambda v: v, lambda v: 1),
    "generator": (lambda v: -v, lambda v: -1),
}
TABLE_1 = {
    "gan": {**LOG, "generator": (lambda l: log_D(-l), lambda l: -D(l))},
    "gan-ma": {**LOG, "generator": (lambda l: -log_D(l), lambda l: -D(-l))},
    "lsgan": {
        "real": (lambda v: (v - 1) ** 2, lambda v: 2 * (v - 1)),
        "fake": (lambda v: v**2, lambda v: 2 * v),
        "generator": (lambda v: (v - 1) ** 2, lambda v: 2 * (v - 1)),
    },
    "wgan": LINEAR,
    "wgan-gp": LINEAR,
    # not in the table: at the kinks the derivative of either side would do, PyTorch takes that of the slope
    "hinge": {
        "real": (lambda v: max(0, 1 - v), lambda v: -1 if v <= 1 else 0),
        "fake": (lambda v: max(0, 1 + v), lambda v: 1 if v >= -1 else 0),
        "generator": LINEAR["generator"],
    },
}


@cache
def logits() -> Tensor:
    """-100 to 100, denser around 0 and around +-20, all of them bfloat16 numbers so that every dtype sees the same."""
    points = torch.cat([torch.linspace(-100, 100, 201), torch.linspace(-5, 5, 101), torch.linspace(18, 22, 41)])
    return torch.cat([points, -points]).bfloat16().double().unique()


@cache
def oracle(name: str, side: str) -> tuple[Tensor, Tensor]:
    with mpmath.workdps(60):
        value, derivative = TABLE_1[name][side]
        points = [mpmath.mpf(l) for l in logits().tolist()]
        return tuple(torch.tensor([float(f(l)) for l in points], dtype=torch.float64) for f in (value, derivative))


def close(actual: Tensor, expected: Tensor, relative: float, what: str, atol: float = 1e-37) -> None:
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=relative, atol=atol, msg=lambda m: f"{what}: {m}"
    )


# --- checks of Table 1 ------------------------------------------------------------------------------------------


def check_objective_values(code: Implementation) -> None:
    for name, objective in code.objectives.items():
        for dtype, (tolerance, _) in TOLERANCE.items():
            l = logits()[::6].to(dtype)  # as symmetric as all of them: l.flip(0) is -l
            real, fake, generator = (oracle(name, side)[0][::6] for side in ("real", "fake", "generator"))
            losses = torch.stack([objective.generator(v[None]) for v in l])
            close(losses, generator, tolerance, f"{name} generator {dtype}")
            losses = torch.stack([objective.discriminator(v[None], -v[None]) for v in l])
            close(losses, real + fake.flip(0), tolerance, f"{name} discriminator {dtype}")
            batch = slice(len(l) // 2)
            close(objective.generator(l[batch]), generator[batch].mean(), tolerance, f"{name} batch {dtype}")


def check_objective_gradients(code: Implementation) -> None:
    for name, objective in code.objectives.items():
        for dtype, (_, tolerance) in TOLERANCE.items():
            n = len(logits())
            l, m = (logits().clone().to(dtype).requires_grad_() for _ in range(2))
            (gradient,) = torch.autograd.grad(n * objective.generator(l), l)
            close(gradient, oracle(name, "generator")[1], tolerance, f"{name} generator {dtype}")
            gradients = torch.autograd.grad(n * objective.discriminator(l, m), (l, m))
            for side, gradient in zip(("real", "fake"), gradients, strict=True):
                close(gradient, oracle(name, side)[1], tolerance, f"{name} {side} {dtype}")


def check_objective_shapes(code: Implementation) -> None:
    """A scalar for any shape of output (vector, column, PatchGAN map), and for unequal numbers of real and fake."""
    torch.manual_seed(0)
    real, fake = torch.randn(2, 96, dtype=torch.float64)
    for name, objective in code.objectives.items():
        for shape in ((96,), (96, 1), (6, 1, 4, 4)):
            discriminator = objective.discriminator(real.reshape(shape), fake.reshape(shape))
            assert discriminator.shape == objective.generator(fake.reshape(shape)).shape == ()
            close(discriminator, objective.discriminator(real, fake), 1e-14, f"{name} {shape}")
        repeated = objective.discriminator(real, torch.cat([fake, fake]))
        close(repeated, objective.discriminator(real, fake), 1e-14, f"{name}: twice the fake samples")


@cache
def densities() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.linspace(-14, 14, 400_001)
    p = 0.3 * stats.norm.pdf(x, -2, 0.7) + 0.7 * stats.norm.pdf(x, 1.5, 1.1)
    q = 0.6 * stats.norm.pdf(x, -1, 1.3) + 0.4 * stats.norm.pdf(x, 2.5, 0.9)
    return x, p, q


@cache
def quantiles() -> tuple[np.ndarray, np.ndarray]:
    """100 000 equally likely points of p and of q: a mean over them is an expectation."""
    x, *both = densities()
    levels = (np.arange(100_000) + 0.5) / 100_000
    cumulated = ((d[1:] + d[:-1]).cumsum() * (x[1] - x[0]) / 2 for d in both)
    return tuple(np.interp(levels, c, x[1:]) for c in cumulated)


def ratio_at_quantiles(bump: float = 0.0) -> tuple[Tensor, Tensor]:
    """log p/q at samples of p and of q: the logit of the best possible D. ``bump`` moves it off the optimum."""
    x, p, q = densities()
    logit = np.log(p) - np.log(q)
    return tuple(torch.from_numpy(np.interp(s, x, logit) + bump * np.sin(3 * s)) for s in quantiles())


def integral(f: np.ndarray) -> float:
    return float(np.trapezoid(f, densities()[0]))


def jensen_shannon() -> float:
    _, p, q = densities()
    m = (p + q) / 2
    return integral(p * np.log(p / m) + q * np.log(q / m)) / 2


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """chi^2(a || b)."""
    return integral((a - b) ** 2 / b)


def check_objective_jensen_shannon(code: Implementation) -> None:
    """V(D*) = -log 4 + 2 JSD(p, q) with D* = p / (p + q), and no other D has a smaller loss (row 1)."""
    for name in ("gan", "gan-ma"):
        loss = code.objectives[name].discriminator
        best = loss(*ratio_at_quantiles()).item()
        assert -best == pytest.approx(-np.log(4) + 2 * jensen_shannon(), abs=2e-5)
        assert min(loss(*ratio_at_quantiles(bump)).item() for bump in (-0.1, 0.1)) > best + 1e-4


def check_objective_pearson(code: Implementation) -> None:
    """At LSGAN's D* = p / (p + q), with m = (p + q) / 2 (row 4, Mao et al. 2017 for targets 0 and 1):

    E_p (D* - 1)^2 + E_q D*^2 = (1 - chi^2(p || m)) / 2,  E_p (D* - 1)^2 + E_q (D* - 1)^2 = (1 + chi^2(q || m)) / 2.
    """
    _, p, q = densities()
    real, fake = (torch.sigmoid(l) for l in ratio_at_quantiles())
    objective = code.objectives["lsgan"]
    best = objective.discriminator(real, fake).item()
    assert best == pytest.approx((1 - pearson(p, (p + q) / 2)) / 2, abs=2e-5)
    both = objective.generator(real) + objective.generator(fake)
    assert both.item() == pytest.approx((1 + pearson(q, (p + q) / 2)) / 2, abs=2e-5)
    assert min(objective.discriminator(real + b, fake + b).item() for b in (-0.02, 0.02)) > best + 1e-4


def check_objective_saturation(code: Implementation) -> None:
    """Eq. 1 gives the generator no gradient where D is sure, Eq. 2 a full one; they agree in the middle (row 2)."""
    slope = {}
    for name in ("gan", "gan-ma"):
        l = torch.tensor([-100.0, -50.0, -20.0, 0.0, 20.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(5 * code.objectives[name].generator(l), l)
        slope[name] = gradient.tolist()
    assert all(-1e-8 < s <= 0 for s in slope["gan"][:3]) and slope["gan"][4] < -0.999
    assert all(s == pytest.approx(-1) for s in slope["gan-ma"][:3]) and -1e-8 < slope["gan-ma"][4] <= 0
    assert slope["gan"][3] == pytest.approx(-0.5) == slope["gan-ma"][3]


# --- checks of Eq. 4 --------------------------------------------------------------------------------------------

SHAPES = ((7,), (7, 2), (5, 1, 9), (4, 1, 6, 5), (4, 3, 6, 5), (3, 2, 4, 3, 5), (1, 1, 6, 5), (1, 2))


def samples(shape: tuple[int, ...], n: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(n)]


def per_sample(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1)


def check_penalty_linear_critic(code: Implementation) -> None:
    """D(x) = <w, x> has the gradient w at every point: the penalty is (|w| - 1)^2, one- or two-sided."""
    for shape in SHAPES:
        real, fake, w = samples(shape, 3)
        for norm, one_sided, expected in (
            (3.0, False, 4.0),
            (3.0, True, 4.0),
            (0.5, False, 0.25),
            (0.5, True, 0.0),
        ):
            direction = norm * w[0] / w[0].norm()
            critic = lambda x, d=direction: per_sample(x * d).sum(1)  # noqa: E731
            penalty = code.gradient_penalty(critic, real, fake, one_sided=one_sided)
            assert penalty.item() == pytest.approx(expected, abs=1e-12), (shape, norm, one_sided)


def check_penalty_quadratic_critic(code: Implementation) -> None:
    """D(x) = a |x|^2 / 2 has the gradient a x, of another norm for every sample; real = fake fixes the points."""
    for shape in SHAPES:
        (x,) = samples(shape, 1)
        norms = 0.8 * per_sample(x).square().sum(1).sqrt()
        for one_sided, excess in ((False, norms - 1), (True, (norms - 1).clamp_min(0))):
            penalty = code.gradient_penalty(lambda x: 0.4 * per_sample(x).square().sum(1), x, x, one_sided=one_sided)
            assert penalty.item() == pytest.approx(excess.square().mean().item(), abs=1e-12), shape


def check_penalty_points(code: Implementation) -> None:
    """Points lie on the line between real and fake, uniformly, each sample with an epsilon of its own."""
    torch.manual_seed(0)
    real, fake = samples((400, 1, 3, 4))
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return per_sample(x).sum(1)

    code.gradient_penalty(critic, real, fake)
    epsilon = per_sample((seen[0] - fake) / (real - fake))
    along = per_sample((seen[0] - fake) * (real - fake)).sum(1) / per_sample((real - fake).square()).sum(1)
    assert (epsilon - along[:, None]).abs().max() < 1e-10
    assert stats.kstest(along.numpy(), "uniform").pvalue > 1e-3


def check_penalty_map_and_condition(code: Implementation) -> None:
    """A critic may return a map of values, summed a sample, and take conditions."""
    real, fake, y = samples((6, 1, 4, 4), 3)
    penalty = code.gradient_penalty(lambda x, y: x * y, real, fake, y)
    assert penalty.item() == pytest.approx((per_sample(y).norm(dim=1) - 1).square().mean().item(), abs=1e-12)


def check_penalty_gradient(code: Implementation) -> None:
    """The critic learns from it: d(|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|. Real and fake samples do not."""
    real, fake = (x.requires_grad_() for x in samples((5, 4)))
    w = torch.tensor([1.0, -2.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    code.gradient_penalty(lambda x: x @ w, real, fake).backward()
    torch.testing.assert_close(w.grad, (2 * (w.norm() - 1) * w / w.norm()).detach())
    assert real.grad is None and fake.grad is None
    zero = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    penalty = code.gradient_penalty(lambda x: x @ zero, real, fake)
    penalty.backward()
    assert penalty.item() == pytest.approx(1) and zero.grad.isfinite().all()


# --- checks of the updates --------------------------------------------------------------------------------------


class Constant(nn.Module):
    """A generator that makes the same sample whatever z is: its loss is known exactly."""

    latent = 2

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([0.4, -0.3], dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.mean.expand(len(z), -1)


def game(code: Implementation, objective: str, *, lr: float = 0.1, **options):
    """A linear critic, for which Eq. 4 is (|w| - 1)^2 whatever epsilon is, and plain gradient descent."""
    torch.manual_seed(0)
    method = code.GAN(Constant(), nn.Linear(2, 1, dtype=torch.float64), objective, **options)
    method.opt_D = torch.optim.SGD(method.D.parameters(), lr=lr)
    method.opt_G = torch.optim.SGD(method.G.parameters(), lr=lr)
    return method, torch.randn(12, 2, dtype=torch.float64) + 1


def table_1_by_hand(objective: str, real: Tensor, fake: Tensor) -> Tensor:
    match objective:
        case "gan" | "gan-ma":
            return -torch.log(1 / (1 + torch.exp(-real))).mean() - torch.log(1 - 1 / (1 + torch.exp(-fake))).mean()
        case "lsgan":
            return ((real - 1) ** 2).mean() + (fake**2).mean()
        case "hinge":
            return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
        case _:
            return -real.mean() + fake.mean()


def generator_by_hand(objective: str, fake: Tensor) -> Tensor:
    match objective:
        case "gan":
            return torch.log(1 - 1 / (1 + torch.exp(-fake))).mean()
        case "gan-ma":
            return -torch.log(1 / (1 + torch.exp(-fake))).mean()
        case "lsgan":
            return ((fake - 1) ** 2).mean()
        case _:
            return -fake.mean()


def check_step_by_hand(code: Implementation) -> None:
    """Two steps of three updates of D and one of G arrive where the formulas of Table 1 say, default lambda and c."""
    for objective in OBJECTIVES:
        method, x = game(code, objective, n_critic=3)
        w, b = (p.detach().clone().requires_grad_() for p in method.D.parameters())
        mean = method.G.mean.detach().clone().requires_grad_()
        for _ in range(2):
            history = method.step({"x": x})
            for real in x.split(4):
                loss = table_1_by_hand(objective, real @ w.T + b, mean.expand(4, 2) @ w.T + b)
                if objective == "wgan-gp":
                    loss = loss + 10 * (w.norm() - 1) ** 2
                for p, gradient in zip((w, b), torch.autograd.grad(loss, (w, b)), strict=True):
                    p.data -= 0.1 * gradient
                    if objective == "wgan":
                        p.data.clamp_(-0.01, 0.01)
            loss_G = generator_by_hand(objective, mean.expand(4, 2) @ w.T + b)
            mean.data -= 0.1 * torch.autograd.grad(loss_G, mean)[0]
        close(history["loss_D"], loss.detach(), 1e-10, f"{objective}: loss_D", atol=1e-12)
        close(history["loss_G"], loss_G.detach(), 1e-10, f"{objective}: loss_G", atol=1e-12)
        for p, expected in zip((*method.D.parameters(), method.G.mean), (w, b, mean), strict=True):
            close(p.detach(), expected.detach(), 1e-10, objective, atol=1e-12)


def check_step_clips_after_the_update(code: Implementation) -> None:
    """max |w| <= c after every step, however large the update (row 6)."""
    method, x = game(code, "wgan", lr=5.0, clip=0.05)
    for _ in range(3):
        method.step({"x": x})
        assert max(p.abs().max() for p in method.D.parameters()) <= 0.05


def check_step_keeps_the_players_apart(code: Implementation) -> None:
    """G's update changes neither D's weights nor its gradients; D's update does not touch G."""
    method, x = game(code, "gan-ma")
    state = {k: v.clone() for k, v in method.G.state_dict().items()}
    method.update_D(x)
    assert all(torch.equal(v, state[k]) for k, v in method.G.state_dict().items()) and method.G.mean.grad is None
    state = {k: v.clone() for k, v in method.D.state_dict().items()}
    gradients = [p.grad.clone() for p in method.D.parameters()]
    method.update_G(4)
    assert all(torch.equal(v, state[k]) for k, v in method.D.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(method.D.parameters(), gradients, strict=True))
    assert all(p.requires_grad for p in method.D.parameters())


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
