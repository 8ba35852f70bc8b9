"""AuxiliaryGAN: what D and C minimise, what G never sees, and that C learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medgan_lib import cohorts, training
from medgan_lib.methods import AuxiliaryGAN, UniformGAN
from medgan_lib.networks import MLP
from medgan_lib.objectives import OBJECTIVES


def make(weight: float = 2.0, **options) -> AuxiliaryGAN:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(2, 16), nn.ReLU())
    D, C = nn.Sequential(trunk, nn.Sequential(nn.Linear(16, 1), nn.Flatten(0))), nn.Sequential(trunk, nn.Linear(16, 8))
    return AuxiliaryGAN(MLP(3, 2, 16, 2), D, C, weight=weight, **options)


def batch(n: int = 32) -> dict[str, torch.Tensor]:
    ring = cohorts.load("ring", seed=3)
    return {"x": ring.x[:n], "label": ring["label"][:n]}


def parameters(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_d_and_c_descend_on_the_sum_of_both_losses():
    """Gradients of trunk and heads against autograd in float64, written out again."""
    method, data = make(weight=2.0), batch()
    twin = copy.deepcopy(method).double()
    torch.manual_seed(5)
    method.update_D(data["x"], data["label"])
    torch.manual_seed(5)
    fake = twin.G(method.noise(32).double()).detach()
    x = data["x"].double()
    loss = OBJECTIVES["gan-ma"].discriminator(twin.D(x), twin.D(fake)) + 2.0 * F.cross_entropy(twin.C(x), data["label"])
    loss.backward()
    for ours, theirs in zip((*method.D.parameters(), *method.C[1].parameters()),
                            (*twin.D.parameters(), *twin.C[1].parameters()), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_without_weight_it_is_the_plain_game():
    method, data = make(weight=0.0), batch()
    plain = UniformGAN(copy.deepcopy(method.G), copy.deepcopy(method.D))
    for game in (method, plain):
        torch.manual_seed(7)
        for _ in range(3):
            game.step(data)
    for name in "GD":
        torch.testing.assert_close(parameters(getattr(method, name)), parameters(getattr(plain, name)))


def test_g_does_not_hear_c():
    """Another head C leaves G's step as it is, down to the last bit."""
    method, other = make(), make()
    with torch.no_grad():
        for p in other.C[1].parameters():
            p.normal_()
    for game in (method, other):
        torch.manual_seed(9)
        game.update_G(32)
    assert torch.equal(parameters(method.G), parameters(other.G))
    before = parameters(method.C[1])
    method.update_G(32)
    assert torch.equal(before, parameters(method.C[1])), "G's step moved C"


def test_c_learns_the_labels_while_the_game_goes_on():
    ring = cohorts.load("ring", seed=0)
    run = training.fit(make(lr=1e-3), ring, steps=600, batch_size=128, seed=0, precision="float32")
    with torch.no_grad():
        right = (run.method.C(ring.x).argmax(1) == ring["label"]).float().mean().item()
    assert right > 0.95
    assert run.history["loss_C"][-50:].mean() < 0.4


def test_rates_and_what_is_refused():
    method = make(lr=1e-3, lr_D=2e-4)
    assert [g["lr"] for g in method.opt_D.param_groups] == [2e-4, 2e-4]
    assert [g["lr"] for g in method.opt_G.param_groups] == [1e-3]
    D, C = method.D, method.C
    with pytest.raises(ValueError, match="clipping"):
        AuxiliaryGAN(method.G, D, C, "wgan-gp")
    with pytest.raises(ValueError, match="share their first part"):
        AuxiliaryGAN(method.G, D, nn.Sequential(copy.deepcopy(D[0]), C[1]))
    with pytest.raises(ValueError, match="two parts"):
        AuxiliaryGAN(method.G, D, MLP(2, 8, 16, 2))
    with pytest.raises(ValueError, match="0 or more"):
        make(weight=-1.0)
