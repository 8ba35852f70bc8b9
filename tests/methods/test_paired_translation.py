"""Eqs. 6 to 8, by oracles; planted slips are found."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from translation_oracles import (
    LOSSES,
    blobs,
    each,
    expectation,
    first_step,
    gradients,
    images,
    small_net,
    weights,
    worst,
)

from medgan_lib import training
from medgan_lib.methods.translation import Pix2Pix, SelfRegularisedGAN, judge
from medgan_lib.networks.translators import (
    PatchCritic,
    UNet,
)
from medgan_lib.objectives import OBJECTIVES


def players(inputs: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    G = UNet(width=2, depth=1).double()
    return G, PatchCritic(inputs, width=2, stages=1).double()


def distance_from_eq_6(
    kind: type[Pix2Pix] = Pix2Pix, objective: str = "gan", lambda1: float = 0.7, lambda2: float = 3.0
) -> float:
    """Of losses, gradients and weights after a step of both players, from the formula written out."""
    G, D = players(2)
    x, y = images(5, seed=1, dtype=torch.float64), images(5, seed=2, dtype=torch.float64)
    real, generated, game = LOSSES[objective]
    method = kind(copy.deepcopy(G), copy.deepcopy(D), objective, lambda1=lambda1, lambda2=lambda2, lr=0.01)
    history = method.step({"x": x, "y": y})
    fake = torch.cat(each(G, y))
    expected, compared = {}, []
    if lambda1:
        expected["loss_D"] = expectation([real(l) for l in each(D, x, y)]) + expectation(
            [generated(l) for l in each(D, fake.detach(), y)]
        )
        compared += zip(gradients(method.D), first_step([D], lambda1 * expected["loss_D"], 0.01), strict=True)
    expected["l1"] = (fake - x).abs().sum() / x.numel()
    value = lambda2 * expected["l1"]
    if lambda1:
        value = value + lambda1 * expectation([game(l) for l in each(D, fake, y)])
    expected["loss_G"] = value
    compared += zip(gradients(method.G), first_step([G], value, 0.01), strict=True)
    compared += zip(weights(method.D, method.G), weights(D, G), strict=True)
    assert set(history) == set(expected)
    return worst([*compared, *((history[name], expected[name].detach()) for name in expected)])


@pytest.mark.parametrize("weights_", [(1.0, 100.0), (0.7, 3.0), (1.0, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize("objective", ["gan", "gan-ma", "lsgan"])
def test_pix2pix_is_eq_6(objective, weights_):
    assert distance_from_eq_6(Pix2Pix, objective, *weights_) < 1e-6


def slipped(slip: str) -> type[Pix2Pix]:
    """`Pix2Pix` written anew with one slip in it, or without any."""

    class Slipped(Pix2Pix):
        def step(self, batch):
            x, y = batch["x"], batch["y"]
            table, fake = OBJECTIVES[self.objective], self.G(y)
            seen = torch.zeros_like(y) if slip == "D does not see y" else y
            if slip == "the y of another pair":
                seen = y.roll(1, 0)
            self.opt_D.zero_grad()
            self.opt_G.zero_grad()
            judged = fake if slip == "fake not detached" else fake.detach()
            loss_D = table.discriminator(self.D(x, seen), self.D(judged, seen))
            (self.lambda1 * loss_D).backward(retain_graph=True)
            if slip != "D after G":
                self.opt_D.step()
            kept = [g.clone() for g in gradients(self.D)]
            l1 = (fake - x).abs().sum() if slip == "L1 summed" else (fake - x).abs().mean()
            if slip == "squared distance":
                l1 = (fake - x).square().mean()
            lambda1 = 1.0 if slip == "lambda1 not applied" else self.lambda1
            loss = self.lambda2 * l1 + lambda1 * table.generator(self.D(fake, seen))
            loss.backward()
            if slip != "D follows G's loss":
                for p, g in zip(self.D.parameters(), kept, strict=True):
                    p.grad = g
            self.opt_G.step()
            if slip == "D after G":
                self.opt_D.step()
            return {"loss_G": loss.detach(), "l1": l1.detach(), "loss_D": loss_D.detach()}

    return Slipped


def test_pix2pix_with_a_slip_is_found_out():
    assert distance_from_eq_6(slipped("none")) < 1e-6
    for slip in (
        "D does not see y",
        "the y of another pair",
        "fake not detached",
        "L1 summed",
        "squared distance",
        "lambda1 not applied",
        "D follows G's loss",
        "D after G",
    ):
        assert distance_from_eq_6(slipped(slip)) > 1e-4, slip


def test_without_a_game_D_is_left_alone_or_not_there():
    G, D = players(2)
    before = weights(copy.deepcopy(D))
    batch = {"x": images(3, seed=1, dtype=torch.float64), "y": images(3, dtype=torch.float64)}
    with_D = Pix2Pix(copy.deepcopy(G), D, lambda1=0.0)
    assert set(with_D.step(batch)) == {"loss_G", "l1"}
    assert all(map(torch.equal, weights(D), before)) and all(g is None for g in gradients(D))
    without = Pix2Pix(G, None, lambda1=0.0)
    without.step(batch)
    assert all(map(torch.equal, weights(without.G), weights(with_D.G)))
    assert set(without.optimizers()) == set(with_D.optimizers()) == {"G"} and set(without.networks()) == {"G"}


def test_judging_both_at_once_changes_nothing():
    _, D = players(2)
    x, fake, y = (images(3, seed=seed, dtype=torch.float64) for seed in range(3))
    together = judge(D, x, fake, y)
    D.per_sample = False
    for a, b in zip(together, judge(D, x, fake, y), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 2.0])
@pytest.mark.parametrize("objective", ["gan", "gan-ma", "lsgan"])
def test_self_regularised_gan_is_eqs_7_and_8(objective, lam):
    """Values, gradients and weights; also where there are more images of one domain than of the other."""
    for n in (5, 3):
        G, D = players(1)
        x, y = images(n, seed=1, dtype=torch.float64), images(5, seed=2, dtype=torch.float64)
        real, generated, game = LOSSES[objective]
        method = SelfRegularisedGAN(copy.deepcopy(G), copy.deepcopy(D), objective, lam=lam, lr=0.01)
        history = method.step({"x": x, "y": y})
        fake = torch.cat(each(G, y))
        loss_D = expectation([real(l) for l in each(D, x)]) + expectation(
            [generated(l) for l in each(D, fake.detach())]
        )
        compared = list(zip(gradients(method.D), first_step([D], loss_D, 0.01), strict=True))
        l1 = (fake - y).abs().sum() / y.numel()
        loss_G = expectation([game(l) for l in each(D, fake)]) + lam * l1
        compared += zip(gradients(method.G), first_step([G], loss_G, 0.01), strict=True)
        compared += zip(weights(method.D, method.G), weights(D, G), strict=True)
        assert list(history) == ["loss_D", "loss_G", "l1"]
        compared += zip(history.values(), [loss_D.detach(), loss_G.detach(), l1.detach()], strict=True)
        assert worst(compared) < 1e-6


def test_pix2pix_learns_a_known_map():
    y, new = blobs(128, 0), blobs(32, 1)
    torch.manual_seed(0)
    method = Pix2Pix(small_net(), PatchCritic(2, width=8, stages=1), lr=2e-3)
    training.fit(method, {"y": y, "x": -y}, steps=150, batch_size=8, seed=0, precision="float32")
    assert (method.translate(new) + new).abs().mean() < 0.1
    assert method.G.training and torch.equal(method.translate(new, batch_size=5), method.translate(new))


@pytest.mark.parametrize("lambda1", [0.0, 1.0])
def test_rates_of_pix2pix_fall_to_zero_in_all_players(lambda1):
    G, D = players(2)
    method = Pix2Pix(G, D, lambda1=lambda1, lr=0.1, decay=(1, 3))
    batch, rates = {"y": images(2, dtype=torch.float64), "x": images(2, seed=1, dtype=torch.float64)}, []
    for _ in range(4):
        rates.append({group["lr"] for opt in method.optimizers().values() for group in opt.param_groups})
        method.step(batch)
    assert rates == [{0.1}, {0.1}, {0.05}, {0.0}]
    with pytest.raises(ValueError, match=r"^decay must be two steps"):
        Pix2Pix(G, D, decay=(3, 3))


def test_self_regularisation_keeps_the_image_that_the_game_would_change():
    y, x, new = blobs(128, 0), -blobs(128, 2), blobs(32, 1)
    made = {}
    for lam in (0.0, 1000.0):
        torch.manual_seed(0)
        method = SelfRegularisedGAN(small_net(), PatchCritic(width=8, stages=1), lam=lam, lr=2e-3)
        training.fit(method, {"y": y, "x": x}, steps=150, batch_size=8, seed=0, precision="float32")
        made[lam] = method.translate(new)
    assert (made[1000.0] - new).abs().mean() < 0.1
    assert abs(made[0.0].mean() - x.mean()) < 0.15 < abs(new.mean() - x.mean())
