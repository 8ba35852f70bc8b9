"""AnoGAN and its encoder form are the papers': scores, search, updates; planted slips are found."""

from __future__ import annotations

import contextlib
import copy
import itertools

import numpy as np
import pytest
import torch
from linear_anogan import FEATURES, LAM, LATENT, PIXELS, LinearD, LinearG, players, search, seeded
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from medgan_lib.methods import FAnoGAN, anogan, anomaly_scores, latent_search
from medgan_lib.methods.base import frozen
from medgan_lib.networks import ClassCritic, Critic, Encoder, Generator


def lowest(G: LinearG, D: LinearD, x: Tensor, lam: float) -> list[float]:
    """min over z of (1 - lam) L_R + lam L_D of each image, a linear programme: t >= |W (x - b - A z)|, sum t least."""
    A, b = G.dense.weight.detach().numpy(), G.dense.bias.detach().numpy()
    B = D.features[2].weight.detach().numpy()
    W = np.concatenate([(1 - lam) / PIXELS * np.eye(PIXELS), lam / FEATURES * B])
    found = []
    for image in x.flatten(1).numpy():
        y, M, one = W @ (image - b), W @ A, np.eye(len(W))
        found.append(
            linprog(
                np.r_[np.zeros(LATENT), np.ones(len(W))],
                A_ub=np.block([[-M, -one], [M, -one]]),
                b_ub=np.r_[-y, y],
                bounds=[(None, None)] * LATENT + [(0, None)] * len(W),
            ).fun
        )
    return found


def check_scores() -> None:
    """A, R, D and the residual image against the paper's formulas, one image and one number at a time."""
    G, D, z, x = players()
    for discrimination in anogan.DISCRIMINATION:
        scores = anomaly_scores(G, D, x, z, lam=LAM, discrimination=discrimination)
        A, b = G.dense.weight.detach().numpy(), G.dense.bias.detach().numpy()
        B, c = (p.detach().numpy() for p in D.features[2].parameters())
        v, d = (p.detach().numpy() for p in D.head.parameters())
        for i in range(len(x)):
            image, made = x[i].flatten().numpy(), A @ z[i].numpy() + b
            R = sum(abs(float(image[j]) - float(made[j])) for j in range(PIXELS)) / PIXELS
            if discrimination == "features":
                L_D = sum(abs(float(k)) for k in (B @ image + c) - (B @ made + c)) / FEATURES
            else:
                L_D = -np.log(1 / (1 + np.exp(-(v[0] @ (B @ made + c) + d[0]))))
            wanted = torch.tensor([(1 - LAM) * R + LAM * L_D, R, L_D], dtype=torch.float64)
            torch.testing.assert_close(torch.stack([scores.A[i], scores.R[i], scores.D[i]]), wanted)
            torch.testing.assert_close(scores.x_R[i].flatten(), torch.from_numpy(abs(image - made)))
        assert torch.equal(scores.z, z) and torch.equal(scores.generated, G(z))


def check_search() -> None:
    """The known z with score 0 where there is one, and the lowest score there is elsewhere: the problem is convex."""
    G, D, z, x = players()
    found = search(G, D, x)
    torch.testing.assert_close(found.z[:4], z[:4], atol=2e-3, rtol=0)
    assert found.A[:4].max() < 1e-3 and found.x_R[:4].max() < 5e-3
    wanted = torch.tensor(lowest(G, D, x, LAM), dtype=torch.float64)
    assert wanted[:4].max() < 1e-9 and wanted[4:].min() > 0.05
    assert (found.A - wanted).min() > -1e-9
    torch.testing.assert_close(found.A[4:], wanted[4:], atol=0, rtol=0.01)
    torch.testing.assert_close(found.A, (1 - LAM) * found.R + LAM * found.D)


def check_untouched() -> None:
    """Neither weights, buffers, gradients, modes nor requires_grad of G and D change, in search, scores and steps."""
    torch.manual_seed(0)
    G, E = Generator((1, 8, 8), 4, width=2), Encoder((1, 8, 8), 4, width=2)
    D = ClassCritic((1, 8, 8), 2, width=8)
    G.layers[2].eval()  # one layer in another mode than its network
    D.head[-1].v.requires_grad_(False)
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    method = anogan.FAnoGAN(G, E, D)

    def state() -> list:
        nets = (G, D)
        return [
            [copy.deepcopy(net.state_dict()) for net in nets],
            [(p.requires_grad, p.grad) for net in nets for p in net.parameters()],
            [m.training for net in nets for m in net.modules()],
        ]

    before, encoder = state(), copy.deepcopy(E.state_dict())
    latent_search(G, D, x, noise=lambda n, g: torch.randn(n, 4, generator=g), steps=3)
    with pytest.raises(ValueError):
        latent_search(G, D, x[..., :7], noise=lambda n, g: torch.randn(n, 4, generator=g), steps=3)
    method.scores(x)
    method.train()
    G.layers[2].eval()
    method.step({"x": x})
    after = state()
    for old, new in zip(before[0], after[0], strict=True):
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    assert before[1] == after[1] and before[2] == after[2]
    assert all(parameter.grad is not None for parameter in E.parameters())
    assert not torch.equal(encoder["dense.weight"], E.state_dict()["dense.weight"])


def check_step() -> None:
    """E's gradient and the losses of a step against the paper's L written out in float64."""
    G, D, _, x = players()
    E = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, LATENT)).double()
    method = anogan.FAnoGAN(G, E, D, kappa=0.7)
    other_G, other_D, other = (copy.deepcopy(network) for network in (G, D, E))
    other_D.eval()
    made = other_G(other(x))
    residual = ((x - made) ** 2).sum() / PIXELS / len(x)
    features = ((other_D.features(x) - other_D.features(made)) ** 2).sum() / FEATURES / len(x)
    (residual + 0.7 * features).backward()
    history = method.step({"x": x})
    for name, value in (("residual", residual), ("features", features), ("loss_E", residual + 0.7 * features)):
        torch.testing.assert_close(history[name], value.detach())
    for mine, wanted in zip(E.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad)
    for network, old in ((G, other_G), (D, other_D)):
        for mine, wanted in zip(network.parameters(), old.parameters(), strict=True):
            assert mine.grad is None and torch.equal(mine, wanted)


CHECKS = {"scores": check_scores, "search": check_search, "untouched": check_untouched, "step": check_step}


@pytest.mark.parametrize("check", CHECKS)
def test_it_is_the_papers(check):
    CHECKS[check]()


class TrainsD(FAnoGAN):
    """D descends on E's loss as well."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        generated = self.G(self.E(batch["x"]))
        loss = sum(part.mean() for part in self.errors(batch["x"], generated))
        self.opt_E.zero_grad()
        loss.backward()
        self.opt_E.step()
        with torch.no_grad():
            for p in self.D.parameters():
                p -= 1e-3 * (0 if p.grad is None else p.grad)
        return {"loss_E": loss.detach(), "residual": loss.detach(), "features": loss.detach()}


class SumOfFeatures(FAnoGAN):
    """The features' error isn't divided by their number."""

    def errors(self, x: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
        R, D = super().errors(x, generated)
        return R, D * FEATURES


class BlindToX(FAnoGAN):
    """No gradient comes back through D."""

    def errors(self, x: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
        R, D = super().errors(x, generated)
        return R, D.detach()


def signed(generated: Tensor, x: Tensor) -> Tensor:
    return (x - generated).flatten(1).mean(1)


@contextlib.contextmanager
def in_training_mode(*networks: nn.Module):
    with frozen(nn.ModuleList(networks)):
        yield


@contextlib.contextmanager
def left_frozen(*networks: nn.Module):
    nn.ModuleList(networks).eval().requires_grad_(False)
    yield


MUTANTS = {
    "lambda weighs the residual": ("weighted", lambda R, D, lam: lam * R + (1 - lam) * D, ("scores", "search")),
    "lambda only adds": ("weighted", lambda R, D, lam: R + lam * D, ("scores", "search")),
    "residual with its sign": ("absolute_error", signed, ("scores", "search")),
    "squared residual": ("absolute_error", anogan.squared_error, ("scores", "search")),
    "training mode": ("fixed", in_training_mode, ("scores", "untouched", "step")),
    "left frozen": ("fixed", left_frozen, ("untouched",)),
    "D trained along": ("FAnoGAN", TrainsD, ("untouched", "step")),
    "sum of features": ("FAnoGAN", SumOfFeatures, ("step",)),
    "no gradient through D": ("FAnoGAN", BlindToX, ("step",)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_rejected(mutant, monkeypatch):
    name, code, checks = MUTANTS[mutant]
    monkeypatch.setattr(anogan, name, code)
    if name == "absolute_error":
        monkeypatch.setitem(anogan.DISCRIMINATION, "features", code)
    for check in checks:
        with pytest.raises(AssertionError):
            CHECKS[check]()


def test_other_weights_give_the_other_best_scores():
    """lam 0 is the distance to G's images, lam 1 that of their features, both by linear programming."""
    G, D, _, x = players()
    for lam, part in ((0.0, "R"), (1.0, "D")):
        found = search(G, D, x[4:], lam=lam, steps=1000)
        wanted = torch.tensor(lowest(G, D, x[4:], lam), dtype=torch.float64)
        torch.testing.assert_close(getattr(found, part), wanted, atol=1e-3, rtol=0.01)
        assert torch.equal(found.A, getattr(found, part))


def test_lambda_on_sums_is_another_lambda_on_means():
    """What the module says about the paper's sums: the same z, and a score that differs by a constant factor."""
    G, D, z, x = players()
    scores = anomaly_scores(G, D, x, z, lam=LAM * FEATURES / ((1 - LAM) * PIXELS + LAM * FEATURES))
    on_sums = (1 - LAM) * PIXELS * scores.R + LAM * FEATURES * scores.D
    torch.testing.assert_close(scores.A, on_sums / ((1 - LAM) * PIXELS + LAM * FEATURES))


def test_the_cross_entropy_pulls_towards_what_D_calls_real():
    """The more lambda weighs, the better D's verdict and the worse the residual; at 1 x is forgotten."""
    G, D, _, x = players()
    lams = (0.0, 0.3, 0.8, 1.0)
    found = {lam: search(G, D, x, lam=lam, discrimination="cross-entropy") for lam in lams}
    torch.testing.assert_close(found[1.0].z, found[1.0].z[:1].expand(8, -1))
    for less, more in itertools.pairwise(lams):  # up to what the descent leaves undone
        assert (found[more].D - found[less].D).max() < 5e-3 and (found[more].R - found[less].R).min() > -5e-3
        assert found[more].D.mean() < found[less].D.mean() and found[more].R.mean() > found[less].R.mean()
    with torch.no_grad():
        logits = D.eval()(found[0.8].generated)
    wanted = binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    torch.testing.assert_close(found[0.8].D, wanted)


def test_an_image_alone_scores_as_in_a_batch():
    """Whatever is beside it, with restarts and batch norm, and the same again with the same seed."""
    torch.manual_seed(0)
    G, D = Generator((1, 8, 8), 4, width=2).double(), Critic((1, 8, 8), width=2).double()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64) * 2 - 1
    options = {"noise": lambda n, g: torch.randn(n, 4, generator=g).double(), "layer": "layers", "steps": 20}
    found, again = (latent_search(G, D, x, restarts=2, generator=seeded(5), **options) for _ in range(2))
    other = latent_search(G, D, x, restarts=2, generator=seeded(6), **options)
    assert torch.equal(found.A, again.A) and torch.equal(found.z, again.z) and not torch.equal(found.z, other.z)
    for i in range(3):
        alone = latent_search(G, D, x[i : i + 1], restarts=2, generator=seeded(5), **options)
        for name, value in alone._asdict().items():
            torch.testing.assert_close(value[0], getattr(found, name)[i], atol=1e-8, rtol=1e-6, msg=name)
    one = latent_search(G, D, x, generator=seeded(5), **options)
    assert (found.A <= one.A + 1e-9).all()  # of the two starts the first is the one of a single descent
    method = FAnoGAN(G, Encoder((1, 8, 8), 4, width=2).double(), D, layer="layers")
    scores = method.scores(x)
    torch.testing.assert_close(scores.A[1:2], method.scores(x[1:2]).A)
