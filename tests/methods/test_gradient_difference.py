"""Nie's paired game, against its formula written out; planted slips are found."""

from __future__ import annotations

import copy

import pytest
import torch
from translation_oracles import LOSSES, each, expectation, first_step, gradients, images, weights, worst

from medgan_lib import methods as M
from medgan_lib.networks import PatchCritic, UNet
from medgan_lib.objectives import gradient_difference


def plainly(fake, real):
    """The sum over axes of the mean squared difference of absolute steps, pixel by pixel."""
    total = 0.0
    n, c, h, w = fake.shape
    for down, right in ((1, 0), (0, 1)):
        places = [(i, k, r, s) for i in range(n) for k in range(c) for r in range(h - down) for s in range(w - right)]
        rise = [[abs(u[i, k, r + down, s + right] - u[i, k, r, s]) for i, k, r, s in places] for u in (fake, real)]
        off = [(a - b) ** 2 for a, b in zip(*rise, strict=True)]
        total += sum(off) / len(off)
    return total


def test_gradients_are_compared_by_how_steep_they_are():
    fake, real = (torch.randn(2, 1, 4, 5, generator=torch.Generator().manual_seed(k)).double() for k in (0, 1))
    torch.testing.assert_close(gradient_difference(fake, real), plainly(fake, real))
    torch.testing.assert_close(gradient_difference(-real, real), torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(gradient_difference(real + 3, real), torch.zeros((), dtype=torch.float64))
    step = torch.zeros(1, 1, 2, 4)
    step[..., 2:] = 2.0  # one of three steps along a row: (2 - 0)² / 3
    assert gradient_difference(step, torch.zeros_like(step)).item() == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="same shape"):
        gradient_difference(fake, real[:1])


def distance_from_the_formula(kind=M.GradientDifferenceGAN, objective="lsgan", w=(0.7, 3.0, 2.0)):
    torch.manual_seed(0)
    G, D = UNet(width=2, depth=1).double(), PatchCritic(1, width=2, stages=1).double()
    x, y = images(5, seed=1, dtype=torch.float64), images(5, seed=2, dtype=torch.float64)
    real, generated, game = LOSSES[objective]
    method = kind(copy.deepcopy(G), copy.deepcopy(D), objective, lambda1=w[0], lambda2=w[1], lambda3=w[2], lr=0.01)
    history = method.step({"x": x, "y": y})
    fake = torch.cat(each(G, y))
    shown = ([real(l) for l in each(D, x)], [generated(l) for l in each(D, fake.detach())])
    expected = {"loss_D": sum(expectation(part) for part in shown)}
    compared = list(zip(gradients(method.D), first_step([D], expected["loss_D"], 0.01), strict=True))
    expected["l1"] = (fake - x).abs().sum() / x.numel()
    steps = [(fake.diff(dim=d).abs() - x.diff(dim=d).abs()) ** 2 for d in (2, 3)]
    expected["edges"] = sum(step.sum() / step.numel() for step in steps)
    played = expectation([game(l) for l in each(D, fake)])
    expected["loss_G"] = w[0] * played + w[1] * expected["l1"] + w[2] * expected["edges"]
    compared += zip(gradients(method.G), first_step([G], expected["loss_G"], 0.01), strict=True)
    compared += zip(weights(method.D, method.G), weights(D, G), strict=True)
    compared += [(history[key], value) for key, value in expected.items()]
    return worst(compared)


@pytest.mark.parametrize("objective", ["gan-ma", "lsgan"])
def test_a_step_is_the_formula(objective):
    assert distance_from_the_formula(objective=objective) < 1e-9


class NoEdges(M.GradientDifferenceGAN):
    def step(self, batch):
        self.lambda3 = 0.0
        return super().step(batch)


class AfterG(M.GradientDifferenceGAN):
    """D learns from nothing new: its fakes are the references."""

    def update_D(self, x, fake):
        return super().update_D(x, x)


@pytest.mark.parametrize("slip", [NoEdges, AfterG])
def test_a_slip_is_found(slip):
    assert distance_from_the_formula(slip) > 1e-3


def test_refusals():
    G, D = UNet(width=2, depth=1), PatchCritic(1, width=2)
    cases = {
        "unknown objective": {"objective": "none"}, "lambda3 must be 0 or more": {"lambda3": -1.0},
        "lambda1 must be above 0": {"lambda1": 0.0}, "must be 0 or more": {"lambda2": -1.0}, "decay": {"decay": (5, 2)},
    }  # fmt: skip
    for said, wrong in cases.items():
        with pytest.raises(ValueError, match=said):
            M.GradientDifferenceGAN(G, D, **wrong)
