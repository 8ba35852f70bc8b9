"""AuxiliaryGAN: what C minimises, what G never sees, and that C learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medgan_lib import cohorts, training
from medgan_lib.methods import AuxiliaryGAN, UniformGAN
from medgan_lib.networks import MLP


def make(**options) -> AuxiliaryGAN:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(2, 16), nn.ReLU())
    D, C = nn.Sequential(trunk, nn.Sequential(nn.Linear(16, 1), nn.Flatten(0))), nn.Sequential(trunk, nn.Linear(16, 8))
    return AuxiliaryGAN(MLP(3, 2, 16, 2), D, C, **options)


def batch(n: int = 32) -> dict[str, torch.Tensor]:
    ring = cohorts.load("ring", seed=3)
    return {"x": ring.x[:n], "label": ring["label"][:n]}


def parameters(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_c_descends_on_the_cross_entropy_through_the_trunk():
    """Against Adam in float64, written out: the first step of Adam is lr * sign of the gradient."""
    method, data = make(lr_D=1e-3, lr_C=4e-3), batch()
    twin = copy.deepcopy(method).double()
    logits = twin.C(data["x"].double())
    picked = logits.exp()[torch.arange(32), data["label"]] / logits.exp().sum(1)
    (-picked.log().mean()).backward()
    before = [p.detach().clone() for p in method.C.parameters()]
    loss = method.update_C(data["x"], data["label"])["loss_C"]
    assert loss.item() == pytest.approx(-picked.log().mean().item(), rel=1e-5)
    rates = [1e-3, 1e-3, 4e-3, 4e-3]  # two of the trunk, two of the head
    for rate, old, new, slope in zip(rates, before, method.C.parameters(), twin.C.parameters(), strict=True):
        steep = slope.grad.abs() > 1e-4
        torch.testing.assert_close((new - old)[steep].double(), -rate * slope.grad[steep].sign(), rtol=2e-3, atol=1e-7)


def test_beside_c_it_is_the_plain_game():
    """D's and G's updates are those of the game without labels, from the same weights and noise."""
    method, data = make(), batch()
    plain = UniformGAN(copy.deepcopy(method.G), copy.deepcopy(method.D))
    for game in (method, plain):
        torch.manual_seed(7)
        for _ in range(3):
            game.update_D(data["x"])
            game.update_G(32)
    for name in "GD":
        assert torch.equal(parameters(getattr(method, name)), parameters(getattr(plain, name)))
    moved = parameters(method.D)
    method.update_C(data["x"], data["label"])
    assert not torch.equal(moved, parameters(method.D)), "C did not reach the trunk"


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
    method = make(lr=1e-3, lr_D=2e-4, lr_C=5e-4)
    assert [g["lr"] for g in method.opt_D.param_groups] == [2e-4]
    assert [g["lr"] for g in method.opt_C.param_groups] == [2e-4, 5e-4]
    assert [g["lr"] for g in method.opt_G.param_groups] == [1e-3]
    D, C = method.D, method.C
    with pytest.raises(ValueError, match="clipping"):
        AuxiliaryGAN(method.G, D, C, "wgan-gp")
    with pytest.raises(ValueError, match="share their first part"):
        AuxiliaryGAN(method.G, D, nn.Sequential(copy.deepcopy(D[0]), C[1]))
    with pytest.raises(ValueError, match="two parts"):
        AuxiliaryGAN(method.G, D, MLP(2, 8, 16, 2))
