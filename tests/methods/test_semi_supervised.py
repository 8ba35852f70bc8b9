"""The semi-supervised GAN: losses written out with 60 digits, updates, planted slips."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import torch
from few_labels_parts import batch, cases, numbers
from torch import Tensor
from torch.nn import functional as F

from medgan_lib import networks, training
from medgan_lib.cohorts.problems.few_labels import repeated
from medgan_lib.methods import AdversarialSegmentation, Classifier, SemiSupervisedGAN
from medgan_lib.methods import semi_supervised as ssl


def oracle(labelled: Tensor, label: Tensor, real: Tensor, fake: Tensor) -> tuple[float, float]:
    """(L_supervised, L_unsupervised) from a softmax over K + 1 logits of which the last is 0."""
    with mpmath.workdps(120):

        def p(row: list[float]) -> list[mpmath.mpf]:
            parts = [mpmath.exp(mpmath.mpf(v)) for v in [*row, 0.0]]
            return [part / mpmath.fsum(parts) for part in parts]

        def mean(values: list[mpmath.mpf]) -> mpmath.mpf:
            return mpmath.fsum(values) / len(values)

        given_real = [p(row)[y] / mpmath.fsum(p(row)[:-1]) for row, y in zip(labelled.tolist(), label, strict=True)]
        supervised = mean([-mpmath.log(v) for v in given_real])
        of_real = mean([-mpmath.log(mpmath.fsum(p(row)[:-1])) for row in real.tolist()])
        of_fake = mean([-mpmath.log(p(row)[-1]) for row in fake.tolist()])
        return float(supervised), float(of_real + of_fake)


@dataclass(frozen=True)
class Losses:
    supervised: Callable[[Tensor, Tensor], Tensor] = ssl.supervised_loss
    unsupervised: Callable[[Tensor, Tensor], Tensor] = ssl.unsupervised_loss
    matching: Callable[[Tensor, Tensor], Tensor] = ssl.feature_matching


def conforms(losses: Losses) -> bool:
    for labelled, label, real, fake in cases():
        truth = oracle(labelled, label, real, fake)
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            found = losses.supervised(labelled.to(dtype), label), losses.unsupervised(real.to(dtype), fake.to(dtype))
            if not np.allclose([float(f) for f in found], truth, rtol=tolerance, atol=tolerance):
                return False
        logits = real.clone().requires_grad_()
        p = ssl.probabilities(real)
        (gradient,) = torch.autograd.grad(losses.unsupervised(logits, fake), logits)
        expected = -p[:, -1:] * real.softmax(1) / len(real)  # of -E log D(x): -(1 - D) p(k | real)
        if not torch.allclose(gradient, expected, rtol=1e-9, atol=1e-15):
            return False
    real, fake = numbers(6, 3), numbers(4, 3, seed=1)
    by_hand = sum((real[:, j].sum() / 6 - fake[:, j].sum() / 4) ** 2 for j in range(3)) / 3
    return bool(torch.isclose(losses.matching(real, fake), by_hand, rtol=1e-12))


def test_the_losses_are_those_of_the_paper() -> None:
    assert conforms(Losses())


def lse_of_the_first_maximum(logits: Tensor) -> Tensor:
    top = logits[0].max()
    return top + (logits - top).exp().sum(1).log()


def through_D(real: Tensor, fake: Tensor) -> Tensor:
    D = [part.exp().sum(1) / (part.exp().sum(1) + 1) for part in (real, fake)]
    return -D[0].log().mean() - (1 - D[1]).log().mean()


MUTANTS = {
    # openai/improved-gan, mnist_svhn_cifar10/train_mnist_feature_matching.py
    "half of the unsupervised loss": Losses(unsupervised=lambda r, f: 0.5 * ssl.unsupervised_loss(r, f)),
    # eli5168/improved_gan_pytorch, improved_GAN.py
    "log-sum-exp with the maximum of the batch's first image": Losses(
        unsupervised=lambda r, f: (
            (F.softplus(lse_of_the_first_maximum(r)) - lse_of_the_first_maximum(r)).mean()
            + F.softplus(lse_of_the_first_maximum(f)).mean()
        )
    ),
    # zhukuixi/AshenOne, generative_adversarial_networks/code/chapter_20/05_summarize_discriminator_cust_act.py
    "Z / (Z + 1) with the exponentials written out": Losses(unsupervised=through_D),
    "labelled images among K + 1 classes": Losses(supervised=lambda l, y: F.cross_entropy(F.pad(l, (0, 1)), y)),
    "the largest logit for log Z": Losses(
        unsupervised=lambda r, f: F.softplus(-r.amax(1)).mean() + F.softplus(f.amax(1)).mean()
    ),
    "real and generated exchanged": Losses(unsupervised=lambda r, f: ssl.unsupervised_loss(f, r)),
    "the softplus of real images forgotten": Losses(
        unsupervised=lambda r, f: F.softplus(ssl.log_Z(f)).mean() - ssl.log_Z(r).mean()
    ),
    "a sum over the batch": Losses(unsupervised=lambda r, f: 3 * ssl.unsupervised_loss(r, f)),
    "features compared image by image": Losses(matching=lambda r, f: (r[: len(f)] - f).square().mean()),
    "the norm of the difference, not its square": Losses(matching=lambda r, f: (r.mean(0) - f.mean(0)).norm() / 3),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_slip_is_rejected(name: str) -> None:
    assert not conforms(MUTANTS[name])


def test_the_two_forms_of_D_are_one() -> None:
    for logits, *_ in cases():
        p = ssl.probabilities(logits)
        torch.testing.assert_close(p.sum(1), torch.ones(3, dtype=torch.float64), rtol=1e-14, atol=0)
        torch.testing.assert_close(p[:, :-1].sum(1), ssl.log_Z(logits).sigmoid(), rtol=1e-12, atol=0)
        torch.testing.assert_close(p[:, -1], (-ssl.log_Z(logits)).sigmoid(), rtol=1e-12, atol=0)


class Dense(networks.MLP):
    """(n, 2) -> (n, classes) with features, and noise before every layer while training."""

    def __init__(self, classes: int = 2, noise: float = 0.0) -> None:
        super().__init__(2, classes, 64, 3)
        self.noise = noise

    def features(self, x: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            x = layer(x + self.noise * torch.randn_like(x) if self.noise and self.training else x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self[-1](self.features(x))


def players(**options) -> SemiSupervisedGAN:
    torch.manual_seed(0)
    return SemiSupervisedGAN(networks.MLP(3, 2, 16, 1), Dense(), **options)


class TrainsDWithG(SemiSupervisedGAN):
    """Mutant: G's loss reaches D's optimizer."""

    def update_G(self, u: Tensor) -> dict[str, Tensor]:
        loss = ssl.feature_matching(self.D.features(u), self.D.features(self.G(self.noise(len(u)))))
        for opt in (self.opt_G, self.opt_D):
            opt.zero_grad()
        loss.backward()
        self.opt_G.step()
        self.opt_D.step()
        return {"loss_G": loss.detach()}


class SaturatingG(SemiSupervisedGAN):
    """Mutant (openai/improved-gan, train_svhn_minibatch_discrimination.py): G gets Eq. 1's loss instead of Eq. 2's."""

    def update_G(self, u: Tensor) -> dict[str, Tensor]:
        loss = -F.softplus(ssl.log_Z(self.D(self.G(self.noise(len(u)))))).mean()
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        return {"loss_G": loss.detach()}


def gradients_agree(method: SemiSupervisedGAN) -> bool:
    """Whether both players got the gradients of their losses, written out here, from one step on two minibatches."""
    data, D, G = batch(12), copy.deepcopy(method.D), copy.deepcopy(method.G)
    x, label, u, others = data["x"][:6], data["label"][:6], data["u"][:6], data["u"][6:]
    torch.manual_seed(5)
    method.step(data)
    torch.manual_seed(5)
    first, second = torch.rand(6, 3), torch.rand(6, 3)  # one for D's update, then one for G's

    labelled, real, fake = D(x), D(u), D(G(first).detach())
    Z = [part.exp().sum(1) for part in (real, fake)]
    loss = -labelled.log_softmax(1)[torch.arange(6), label].mean()
    loss = loss + method.weight * (-(Z[0] / (Z[0] + 1)).log().mean() - (1 / (Z[1] + 1)).log().mean())
    of_D = torch.autograd.grad(loss, list(D.parameters()))

    D = method.D  # G meets the D that has just been updated
    if method.matching:
        loss = (D.features(others).mean(0) - D.features(G(second)).mean(0)).square().mean()
    else:
        Z = D(G(second)).exp().sum(1)
        loss = -(Z / (Z + 1)).log().mean()
    of_G = torch.autograd.grad(loss, list(G.parameters()))
    pairs = zip([*method.D.parameters(), *method.G.parameters()], [*of_D, *of_G], strict=True)
    return all(torch.allclose(p.grad, wanted, rtol=1e-7, atol=1e-12) for p, wanted in pairs)


@pytest.mark.parametrize("options", [{}, {"weight": 0.3}, {"matching": False}])
def test_both_players_descend_on_their_own_loss(options: dict, in_double_precision) -> None:
    assert gradients_agree(players(**options))


class OneBatch(SemiSupervisedGAN):
    """Mutant: G meets the unlabelled images that D has just learnt from."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        first = {name: tensor.chunk(2)[0] for name, tensor in batch.items()}
        return super().step({name: torch.cat([part, part]) for name, part in first.items()})


@pytest.mark.parametrize(
    "mutant, options", [(TrainsDWithG, {}), (SaturatingG, {"matching": False}), (OneBatch, {})]
)
def test_a_wrong_update_is_rejected(mutant: type[SemiSupervisedGAN], options: dict, in_double_precision) -> None:
    torch.manual_seed(0)
    assert not gradients_agree(mutant(networks.MLP(3, 2, 16, 1), Dense(), **options))


def test_the_average_follows_and_classifies(in_double_precision) -> None:
    method, data = players(ema=0.8), batch(12)
    average = {name: value.clone() for name, value in method.D.state_dict().items()}
    for t in range(1, 60):
        method.step(data)
        weight = max(9 / (10 + t), 1 - 0.8)
        for name, value in method.D.state_dict().items():
            average[name] += weight * (value - average[name])
    for name, value in method.D_ema.state_dict().items():
        torch.testing.assert_close(value, average[name])
    torch.testing.assert_close(method.classify(data["x"]), ssl.probabilities(method.D_ema(data["x"])).detach())
    assert not torch.allclose(method.classify(data["x"]), ssl.probabilities(method.D(data["x"])))
    assert not any(parameter.requires_grad for parameter in method.D_ema.parameters())


def test_without_the_unsupervised_loss_it_is_a_classifier() -> None:
    torch.manual_seed(0)
    alone = Classifier(Dense(), lr=1e-3)
    torch.manual_seed(0)
    method = SemiSupervisedGAN(networks.MLP(3, 2, 16, 1), Dense(), weight=0.0, lr=1e-3, betas=(0.9, 0.999))
    method.D.load_state_dict(alone.net.state_dict())
    before = copy.deepcopy(method.G.state_dict())
    for seed in range(4):
        data = {name: t.float() if t.is_floating_point() else t for name, t in batch(12, seed=seed).items()}
        alone.step({name: t[:6] for name, t in data.items()})
        method.step(data)
    for name, value in alone.net.state_dict().items():
        assert torch.equal(value, method.D.state_dict()[name])
    assert all(torch.equal(value, before[name]) for name, value in method.G.state_dict().items())


def strips(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two long parallel strips, one a class: points (n, 2) and labels."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    along, across = torch.rand(n, generator=draw) * 4 - 2, 0.12 * torch.randn(n, generator=draw)
    return torch.stack([2.0 * label - 1 + across, along], 1), label


def wide() -> torch.nn.Module:
    """A generator whose points lie all over the plane before it learns."""
    G = networks.MLP(4, 2, 64, 2)
    with torch.no_grad():
        G[0].weight.mul_(6)
        G[0].bias.sub_(G[0].weight.sum(1) / 2)
        y = G(torch.rand(1000, 4))
        G[-1].weight.mul_((1.4 / y.std(0)).unsqueeze(1))
        G[-1].bias.sub_(y.mean(0)).mul_(1.4 / y.std(0))
    return G


class GStands(SemiSupervisedGAN):
    """G never learns, which is enough on a plane (Dai et al. 2017)."""

    def update_G(self, u: Tensor) -> dict[str, Tensor]:
        return {"loss_G": torch.zeros(())}


def error_on_strips(kind: type[SemiSupervisedGAN] = SemiSupervisedGAN, **options) -> float:
    """Test error with one label a strip, at opposite ends, so that the labels alone suggest a slanting border."""
    u, _ = strips(400, 0)
    x, label = torch.tensor([[-1.0, -1.8], [1.0, 1.8]]), torch.tensor([0, 1])
    torch.manual_seed(1)
    method = kind(wide(), Dense(noise=0.05), lr=1e-3, ema=0.9, matching=False, **options)
    data = repeated({"x": x, "label": label}, u, classes=2)
    training.fit(method, data, steps=700, batch_size=64, seed=1, precision="float32")
    test, truth = strips(1000, 1)
    return float((method.classify(test)[:, :2].argmax(1) != truth).float().mean())


def test_unlabelled_points_move_the_border_into_the_gap() -> None:
    alone = error_on_strips(weight=0.0)
    assert alone > 0.1
    assert error_on_strips() < 0.02
    assert error_on_strips(GStands) < 0.5 * alone


def test_methods_refuse_settings_without_a_meaning() -> None:
    with pytest.raises(ValueError, match="weight must be 0 or more, not -1"):
        players(weight=-1)
    with pytest.raises(ValueError, match=r"ema must be in \[0, 1\), not 1"):
        players(ema=1)
    with pytest.raises(ValueError, match="MLP has no method features"):
        SemiSupervisedGAN(networks.MLP(3, 2), networks.MLP(2, 2))
    with pytest.raises(ValueError, match=r"lam must be 0 or more, not -0.1"):
        AdversarialSegmentation(networks.Segmenter(width=2), None, lam=-0.1)
    with pytest.raises(ValueError, match="ramp must be 0 or more, not -1"):
        AdversarialSegmentation(networks.Segmenter(width=2), None, lam=0.0, ramp=-1)
    with pytest.raises(ValueError, match="needs an E"):
        AdversarialSegmentation(networks.Segmenter(width=2), None)
    with pytest.raises(ValueError, match="classes must be at least 2, not 1"):
        networks.ClassCritic((1, 8, 8), 1)
