"""Chapter 23: K + 1 classes against an oracle, planted slips of public code, sets of few labels."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import nbformat
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib import metrics, networks, training
from medgan_lib.cohorts.problems.few_labels import draw_labelled, repeated
from medgan_lib.methods import AdversarialSegmentation, Classifier, SemiSupervisedGAN
from medgan_lib.methods import adversarial_segmentation as dan
from medgan_lib.methods import semi_supervised as ssl
from pipeline import ROOT

K = 4


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- Eq. of the K + 1 classes, written out with 60 digits ---------------------------------------------------------


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


def cases() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Logits from nearly 0 to +-100, also of both signs in one image and in one batch."""
    found = []
    for scale in (0.1, 1.0, 10.0, 100.0):
        signs = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1], [1, -1, 1, -1]], dtype=torch.float64)
        for shift in (0.0, scale, -scale):
            logits = [numbers(3, K, seed=s).clamp(-1, 1).abs() * signs * scale + shift for s in range(3)]
            found.append((logits[0], torch.tensor([0, 2, 3]), logits[1], logits[2]))
    far = 100.0 * torch.tensor([[-1.0] * K, [1.0] * K, [-1.0] * K], dtype=torch.float64)  # the first has no large logit
    return [*found, (far, torch.tensor([1, 1, 0]), far, far)]


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


# --- the updates --------------------------------------------------------------------------------------------------


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


def batch(n: int = 6, seed: int = 0) -> dict[str, Tensor]:
    return {"x": numbers(n, 2, seed=seed), "label": torch.arange(n) % 2, "u": numbers(n, 2, seed=seed + 1)}


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
    """Whether both players got the gradients of their losses, written out here, from one step."""
    data, D, G = batch(), copy.deepcopy(method.D), copy.deepcopy(method.G)
    torch.manual_seed(5)
    method.step(data)
    torch.manual_seed(5)
    first, second = method.noise(6), method.noise(6)  # one for D's update, then one for G's

    labelled, real, fake = D(data["x"]), D(data["u"]), D(G(first).detach())
    Z = [part.exp().sum(1) for part in (real, fake)]
    loss = -labelled.log_softmax(1)[torch.arange(6), data["label"]].mean()
    loss = loss + method.weight * (-(Z[0] / (Z[0] + 1)).log().mean() - (1 / (Z[1] + 1)).log().mean())
    of_D = torch.autograd.grad(loss, list(D.parameters()))

    D = method.D  # G meets the D that has just been updated
    if method.matching:
        loss = (D.features(data["u"]).mean(0) - D.features(G(second)).mean(0)).square().mean()
    else:
        Z = D(G(second)).exp().sum(1)
        loss = -(Z / (Z + 1)).log().mean()
    of_G = torch.autograd.grad(loss, list(G.parameters()))
    pairs = zip([*method.D.parameters(), *method.G.parameters()], [*of_D, *of_G], strict=True)
    return all(torch.allclose(p.grad, wanted, rtol=1e-7, atol=1e-12) for p, wanted in pairs)


@pytest.fixture
def in_double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("options", [{}, {"weight": 0.3}, {"matching": False}])
def test_both_players_descend_on_their_own_loss(options: dict, in_double_precision) -> None:
    assert gradients_agree(players(**options))


@pytest.mark.parametrize("mutant, options", [(TrainsDWithG, {}), (SaturatingG, {"matching": False})])
def test_a_wrong_update_is_rejected(mutant: type[SemiSupervisedGAN], options: dict, in_double_precision) -> None:
    torch.manual_seed(0)
    assert not gradients_agree(mutant(networks.MLP(3, 2, 16, 1), Dense(), **options))


def test_without_the_unsupervised_loss_it_is_a_classifier() -> None:
    torch.manual_seed(0)
    alone = Classifier(Dense(), lr=1e-3)
    torch.manual_seed(0)
    method = SemiSupervisedGAN(networks.MLP(3, 2, 16, 1), Dense(), weight=0.0, lr=1e-3, betas=(0.9, 0.999))
    method.D.load_state_dict(alone.net.state_dict())
    before = copy.deepcopy(method.G.state_dict())
    for seed in range(4):
        data = {name: t.float() if t.is_floating_point() else t for name, t in batch(seed=seed).items()}
        alone.step(data)
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


def error_on_strips(**options) -> float:
    """Test error with one label a strip, at opposite ends, so that the labels alone suggest a slanting border."""
    u, _ = strips(400, 0)
    x, label = torch.tensor([[-1.0, -1.8], [1.0, 1.8]]), torch.tensor([0, 1])
    torch.manual_seed(1)
    method = SemiSupervisedGAN(networks.MLP(4, 2, 64, 2), Dense(noise=0.2), lr=1e-3, **options)
    data = repeated({"x": x, "label": label}, u, classes=2)
    training.fit(method, data, steps=700, batch_size=32, seed=1, precision="float32")
    test, truth = strips(1000, 1)
    return float((method.classify(test)[:, :2].argmax(1) != truth).float().mean())


def test_unlabelled_points_move_the_border_into_the_gap() -> None:
    alone = error_on_strips(weight=0.0)
    assert alone > 0.1
    assert error_on_strips() < 0.6 * alone
    assert error_on_strips(matching=False) < 0.2 * alone


def test_nothing_in_a_step_waits_for_the_device(monkeypatch) -> None:
    def waits(*_, **__):
        raise AssertionError("a step asked for a number")

    S = networks.Segmenter(1, 1, width=2, depth=1)
    segmentation = AdversarialSegmentation(S, networks.Critic((2, 8, 8), 2))
    images = torch.zeros(2, 1, 8, 8)
    method, data = players(), {name: t.float() if t.is_floating_point() else t for name, t in batch().items()}
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(Tensor, name, waits)
    method.step(data)
    segmentation.step({"x": images, "mask": images, "u": images})


@pytest.mark.parametrize("kind", ["classes", "segmentation"])
def test_resumes_in_the_middle(tmp_path, kind: str) -> None:
    def fresh():
        torch.manual_seed(0)
        if kind == "classes":
            D = networks.ClassCritic((1, 8, 8), 2, 2, similarities=2)
            return SemiSupervisedGAN(networks.Generator((1, 8, 8), 3, width=2), D, matching=False)
        return AdversarialSegmentation(networks.Segmenter(1, 1, width=2, depth=1), networks.Critic((2, 8, 8), 2))

    x, u = numbers(4, 1, 8, 8).float(), numbers(10, 1, 8, 8, seed=1).float()
    given = {"label": torch.tensor([0, 1, 1, 0])} if kind == "classes" else {"mask": (x > 0).float()}
    data, options = repeated({"x": x, **given}, u), {"batch_size": 4, "seed": 3, "precision": "float32"}
    whole = training.fit(fresh(), data, steps=9, **options)
    path = tmp_path / "run.pt"
    training.fit(fresh(), data, steps=4, checkpoint=path, **options)
    second = training.fit(fresh(), data, steps=9, checkpoint=path, **options)
    for name, value in whole.method.state_dict().items():
        assert torch.equal(value, second.method.state_dict()[name]), name
    for name, curve in whole.history.items():
        assert torch.equal(curve, second.history[name]), name


def test_methods_refuse_settings_without_a_meaning() -> None:
    with pytest.raises(ValueError, match="weight must be 0 or more, not -1"):
        players(weight=-1)
    with pytest.raises(ValueError, match="MLP has no method features"):
        SemiSupervisedGAN(networks.MLP(3, 2), networks.MLP(2, 2))
    with pytest.raises(ValueError, match=r"lam must be 0 or more, not -0.1"):
        AdversarialSegmentation(networks.Segmenter(width=2), None, lam=-0.1)
    with pytest.raises(ValueError, match="needs an E"):
        AdversarialSegmentation(networks.Segmenter(width=2), None)
    with pytest.raises(ValueError, match="classes must be at least 2, not 1"):
        networks.ClassCritic((1, 8, 8), 1)


# --- networks -----------------------------------------------------------------------------------------------------


def test_the_noise_of_the_critic_is_for_training_only() -> None:
    torch.manual_seed(0)
    D, x = networks.ClassCritic((1, 16, 16), 3, 4), torch.zeros(5, 1, 16, 16)
    assert not torch.equal(D(x)[0], D(x)[1])
    D.eval()
    assert torch.equal(D(x)[0], D(x)[1]) and D(x).shape == (5, 3) and D.features(x).shape == (5, 32)
    noisy = networks.GaussianNoise(0.3)(torch.zeros(100_000))
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.02)


def test_with_minibatch_discrimination_an_answer_depends_on_the_company() -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 1, 16, 16)
    for similarities, depends in ((0, False), (4, True)):
        D = networks.ClassCritic((1, 16, 16), 3, 4, similarities=similarities).eval()
        apart = torch.allclose(D(x)[:3], D(x[:3]), atol=1e-5)
        assert apart is not depends and D.per_sample is not depends
        method = SemiSupervisedGAN(networks.Generator((1, 16, 16), 3, width=2), D, matching=False)
        judged = method.judge(x[:3], x[3:])
        assert torch.allclose(judged[0], D(x[:3]), atol=1e-5) and torch.allclose(judged[1], D(x[3:]), atol=1e-5)


def test_the_segmenter_is_the_unet_before_its_tanh() -> None:
    torch.manual_seed(0)
    S, U = networks.Segmenter(3, 1, width=4, depth=2), networks.UNet(3, 1, width=4, depth=2)
    U.load_state_dict(S.state_dict())
    x = torch.rand(2, 3, 16, 24)
    assert torch.allclose(S(x).tanh(), U(x), atol=1e-6)


# --- few labels ---------------------------------------------------------------------------------------------------


def test_a_draw_is_balanced_nested_and_decided_by_its_seed() -> None:
    label = torch.arange(300) % 10
    small, large, other = (draw_labelled(label, n, 10, seed) for n, seed in ((20, 1), (50, 1), (20, 2)))
    assert torch.bincount(label[small]).tolist() == [2] * 10 and len(set(large.tolist())) == 50
    assert set(small.tolist()) < set(large.tolist()) and set(small.tolist()) != set(other.tolist())
    assert torch.equal(small, draw_labelled(label, 20, 10, 1))


@pytest.mark.parametrize("n, m", [(3, 10), (10, 3), (4, 4)])
def test_the_smaller_set_is_repeated_in_whole_passes(n: int, m: int) -> None:
    x = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 2, 2)
    u = 100 + torch.arange(m).float().view(m, 1, 1, 1).expand(m, 1, 2, 2)
    made = repeated({"x": x, "label": torch.arange(n)}, u, classes=n, seed=4)
    assert len(made["x"]) == len(made["u"]) == len(made["label"]) == max(n, m)
    assert torch.equal(made["x"][:, 0, 0, 0].long(), made["label"])
    for part, count, first in ((made["x"], n, 0), (made["u"], m, 100)):
        seen = part[:, 0, 0, 0].long() - first
        assert all(len(set(block.tolist())) == len(block) for block in seen.split(count))
        counts = torch.bincount(seen, minlength=count)
        assert int(counts.max() - counts.min()) <= 1
    assert torch.equal(made["u"], repeated({"x": x, "label": torch.arange(n)}, u, classes=n, seed=4)["u"])


IMAGES, LABELS = torch.zeros(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("labelled, u, message", [
    ({"label": torch.tensor([0, 1, 1, 0, 1, 0])}, IMAGES, "no labelled item of class 2"),
    ({"label": torch.ones(6, dtype=torch.long)}, IMAGES, "all 6 labels are 1: there is nothing to tell apart"),
    ({"label": LABELS + 1}, IMAGES, "labels must be from 0 to 2, they are from 1 to 3"),
    ({"label": LABELS - 1}, IMAGES, "labels must be from 0 to 2, they are from -1 to 1"),
    ({"label": LABELS.float()}, IMAGES, r"labels must be int64 of shape \(n,\), they are torch.float32"),
    ({"mask": IMAGES + 255}, IMAGES, "masks must be 0 or 1, there are also 255.0"),
    ({"mask": IMAGES[:, :, :3]}, IMAGES, r"masks \(6, 1, 3, 4\) do not fit images \(6, 1, 4, 4\)"),
    ({"mask": IMAGES * torch.nan}, IMAGES, "masks must be 0 or 1, there are also nan"),
    ({"x": IMAGES * torch.nan, "label": LABELS}, IMAGES, "labelled images have values that are not finite"),
    ({"label": LABELS}, IMAGES / 0, "unlabelled images have values that are not finite"),
    ({"label": LABELS}, IMAGES[:0], "6 labelled and 0 unlabelled images: there must be some of both"),
    ({"x": IMAGES[:0], "label": LABELS[:0]}, IMAGES, "0 labelled and 6 unlabelled images"),
    ({"label": LABELS}, IMAGES[:, :, :3], "differ in shape"),
])  # fmt: skip
def test_sets_that_cannot_be_learned_from_are_refused(labelled: dict, u: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        repeated({"x": IMAGES} | labelled, u, classes=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n, message", [
    (12, "12 labels need 4 items of every class, class 2 has 3"),
    (4, "4 labels can't be dealt out evenly to 3 classes: choose a multiple of 3"),
    (0, "0 labels can't be dealt out evenly"),
])  # fmt: skip
def test_more_labels_than_there_are_cannot_be_drawn(n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_labelled(torch.tensor([0] * 5 + [1] * 5 + [2] * 3), n, 3)


# --- the deep adversarial network ---------------------------------------------------------------------------------


def game(method: type[AdversarialSegmentation] = AdversarialSegmentation, **options) -> AdversarialSegmentation:
    torch.manual_seed(0)
    return method(networks.Segmenter(1, 1, width=2, depth=1), networks.Critic((2, 8, 8), 2), **options)


def squares(n: int, seed: int, size: int = 8) -> dict[str, Tensor]:
    """Noisy images (n, 1, size, size) with a bright square of half the size somewhere, and where it is."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.zeros(n, 1, size, size)
    edge = size // 2
    for image, (down, right) in zip(mask, torch.randint(0, edge + 1, (n, 2), generator=draw).tolist(), strict=True):
        image[0, down : down + edge, right : right + edge] = 1
    return {"x": mask - 0.5 + 0.2 * torch.randn(mask.shape, generator=draw), "mask": mask}


class GameOnLabelledImages(AdversarialSegmentation):
    """Mutant: S plays with its predictions on the labelled images, about which E is already of its opinion."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return super().step(batch | {"u": batch["x"]})


class BlindE(AdversarialSegmentation):
    """Mutant: E sees the prediction without its image."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dan, "seen", lambda x, l: torch.cat([torch.zeros_like(x), 2 * l.sigmoid() - 1], 1))
            return super().step(batch)


class WrongSide(AdversarialSegmentation):
    """Mutant: E is told that predictions on unlabelled images are the good ones."""

    def update_E(self, x: Tensor, labelled: Tensor, u: Tensor, unlabelled: Tensor) -> dict[str, Tensor]:
        return super().update_E(u, unlabelled, x, labelled)


def dan_gradients_agree(method: AdversarialSegmentation) -> bool:
    """Whether S and E got the gradients of their losses, written out here, from one step."""
    data = {name: t.double() for name, t in squares(3, 0).items()} | {"u": squares(4, 1)["x"].double()}
    S, E = copy.deepcopy(method.S), copy.deepcopy(method.E)
    method.step(data)
    labelled, unlabelled = S(data["x"]), S(data["u"])
    views = [torch.cat([data[k], 2 * out.sigmoid() - 1], 1) for k, out in (("x", labelled), ("u", unlabelled))]
    p, q = (E(view.detach()).sigmoid() for view in views)
    of_E = torch.autograd.grad(-p.log().mean() - (1 - q).log().mean(), list(E.parameters()))
    inside, mask = labelled.sigmoid(), data["mask"]
    loss = -(mask * inside.log() + (1 - mask) * (1 - inside).log()).mean()
    loss = loss - method.lam * method.E(views[1]).sigmoid().log().mean()  # the E that has just been updated
    of_S = torch.autograd.grad(loss, list(S.parameters()))
    pairs = zip([*method.S.parameters(), *method.E.parameters()], [*of_S, *of_E], strict=True)
    return all(torch.allclose(p.grad, wanted, rtol=1e-6, atol=1e-12) for p, wanted in pairs)


def test_segmenter_and_evaluator_descend_on_their_own_loss(in_double_precision) -> None:
    assert dan_gradients_agree(game(lam=0.7))


@pytest.mark.parametrize("mutant", [GameOnLabelledImages, BlindE, WrongSide])
def test_another_game_is_rejected(mutant: type[AdversarialSegmentation], in_double_precision) -> None:
    assert not dan_gradients_agree(game(mutant, lam=0.7))


def test_without_the_game_unlabelled_images_change_nothing() -> None:
    few = squares(3, 0)
    states = []
    for seed in (1, 2):
        method = game(lam=0.0)
        for _ in range(3):
            history = method.step(few | {"u": squares(4, seed)["x"]})
        states.append(method.S.state_dict())
    assert set(history) == {"segmentation"}
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_squares_are_found_from_six_masks() -> None:
    torch.manual_seed(0)
    S, E = networks.Segmenter(1, 1, width=4, depth=2), networks.Critic((2, 16, 16), 4)
    method, few, test = AdversarialSegmentation(S, E, lam=1e-4, lr=3e-3), squares(6, 0, 16), squares(40, 2, 16)
    data = repeated(few, squares(40, 1, 16)["x"])
    training.fit(method, data, steps=120, batch_size=4, seed=0, precision="float32")
    found, truth = metrics.components(method.segment(test["x"]) > 0.5, smallest=8), test["mask"].long()
    assert metrics.detection(found, truth).f1 > 0.95 and metrics.object_dice(found, truth) > 0.9


# --- what the notebook defines ------------------------------------------------------------------------------------


def from_chapter(*names: str, **namespace):
    """Functions and classes that the notebook defines, without running its cells."""
    notebook = nbformat.read(ROOT / "notebooks" / "23_semi_supervised.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            for node in ast.parse(cell.source).body:
                if getattr(node, "name", None) in names:
                    exec(ast.unparse(node), namespace)
    return [namespace[name] for name in names]


def test_augmentation_moves_image_and_mask_alike() -> None:
    (moved,) = from_chapter("moved", torch=torch, F=F, math=math)
    mask = torch.zeros(32, 1, 32, 48)
    mask[..., 11:21, 16:32] = 1
    torch.manual_seed(0)
    x, turned = moved(2 * mask - 1, mask, degrees=20.0, flips=True)
    assert float(((x > 0).float() - turned).abs().mean()) < 0.01, "an outline at most"
    assert set(turned.unique().tolist()) == {0.0, 1.0} and len(turned.unique(dim=0)) == 32
    area = turned.sum((1, 2, 3)) / mask[0].sum()
    assert float(area.min()) > 0.95 and float(area.max()) < 1.05, "a turn, also where images are no squares"
    same = moved(2 * mask - 1, degrees=0.0, shift=0.0)
    assert torch.allclose(same, 2 * mask - 1, atol=1e-5)


def test_augmentation_mirrors_only_where_asked() -> None:
    (moved,) = from_chapter("moved", torch=torch, F=F, math=math)
    ramp = torch.linspace(-0.9, 0.9, 32).expand(64, 1, 32, 32)
    for flips in (False, True):
        torch.manual_seed(0)
        rising = moved(ramp, degrees=10.0, flips=flips)[:, 0, 16].diff(dim=1).mean(1) > 0
        assert bool(rising.all()) is not flips and bool(rising.any())


def test_the_softmax_of_the_chapter_is_the_loss_of_the_library() -> None:
    as_softmax, written_out = from_chapter("as_softmax", "written_out", torch=torch, F=F)
    for _, _, real, fake in cases():
        assert as_softmax(real, fake).item() == pytest.approx(ssl.unsupervised_loss(real, fake).item(), rel=1e-12)
    assert not written_out(cases()[-1][2].float(), cases()[-1][3].float()).isfinite()
