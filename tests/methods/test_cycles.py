"""Cycles and the buffer of past images, by their formulae."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from translation_oracles import (
    LOSSES,
    blobs,
    cycle_players,
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
from medgan_lib.methods.cyclegan import Buffer, CycleGAN, DiscoGAN, DualGAN
from medgan_lib.networks.translators import (
    PatchCritic,
)
from medgan_lib.objectives import OBJECTIVES


def distance_from_the_cycle(
    kind: type[CycleGAN] = CycleGAN, identity: float = 0.5, lam: float = 3.0, oracle: str = "lsgan", **options
) -> float:
    """Of losses, gradients and weights after a step of all four, from the formulae written out."""
    G_B, G_A, D_B, D_A = nets = cycle_players()
    ours = copy.deepcopy(nets)
    a, b = images(4, seed=1, dtype=torch.float64), images(4, seed=2, dtype=torch.float64)
    method = kind(*ours, lam=lam, identity=identity, lr=0.01, **options)
    history = method.step({"y": a, "x": b})
    real, generated, game = LOSSES[oracle]
    to_b, to_a = torch.cat(each(G_B, a)), torch.cat(each(G_A, b))
    loss_D = sum(
        expectation([real(l) for l in each(D, seen)]) + expectation([generated(l) for l in each(D, fake.detach())])
        for D, seen, fake in ((D_B, b, to_b), (D_A, a, to_a))
    )
    kept = 0.9 if kind is DualGAN else 0.0
    compared = list(zip(gradients(*ours[2:]), first_step([D_B, D_A], loss_D, 0.01, kept), strict=True))
    if kind is DualGAN:
        with torch.no_grad():
            for p in (*D_B.parameters(), *D_A.parameters()):
                p.copy_(torch.where(p.abs() > method.clip, p.sign() * method.clip, p))

    def apart(restored, seen):
        difference = torch.cat(restored) - seen
        return (difference**2 if kind is DiscoGAN else difference.abs()).sum() / seen.numel()

    cycle = apart(each(G_A, to_b), a) + apart(each(G_B, to_a), b)
    loss_G = expectation([game(l) for l in each(D_B, to_b)]) + expectation([game(l) for l in each(D_A, to_a)])
    same = (torch.cat(each(G_B, b)) - b).abs().mean() + (torch.cat(each(G_A, a)) - a).abs().mean()
    loss_G = loss_G + lam * cycle + identity * same
    compared += zip(gradients(*ours[:2]), first_step([G_B, G_A], loss_G, 0.01, kept), strict=True)
    compared += zip(weights(*ours), weights(*nets), strict=True)
    expected = {"loss_G": loss_G, "loss_D": loss_D} | ({"cycle": cycle} if lam else {})
    expected |= {"identity": same} if identity else {}
    assert list(history) == list(expected)
    return worst([*compared, *((history[name], value.detach()) for name, value in expected.items())])


@pytest.mark.parametrize("identity", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "objective", "options"),
    [
        (CycleGAN, "lsgan", {}),
        (CycleGAN, "gan", {"objective": "gan"}),
        (CycleGAN, "lsgan", {"lam": 0.0}),
        (DualGAN, "wgan", {"n_critic": 1}),
        (DiscoGAN, "gan-ma", {}),
    ],
)
def test_the_cycle_is_as_its_formulae_say(kind, objective, options, identity):
    assert distance_from_the_cycle(kind, identity, oracle=objective, **options) < 1e-6


def test_dual_gan_updates_its_critics_on_images_of_their_own():
    """Three updates of the critics against generators that stay, then one of the generators on the last images."""
    nets = cycle_players()
    ours = copy.deepcopy(nets)
    a, b = images(6, seed=1, dtype=torch.float64), images(6, seed=2, dtype=torch.float64)
    DualGAN(*ours, n_critic=3, lam=3.0, lr=0.01).step({"y": a, "x": b})
    one_by_one = DualGAN(*nets, n_critic=1, lam=3.0, lr=0.01)
    for k in (0, 2):
        seen = a[k : k + 2], b[k : k + 2]
        with torch.no_grad():
            made = nets[1](seen[1]), nets[0](seen[0])
        one_by_one.update_D(*seen, *made)
    one_by_one.step({"y": a[4:], "x": b[4:]})
    assert all(map(torch.equal, weights(*ours), weights(*nets)))
    with pytest.raises(ValueError, match=r"^5 images cannot be dealt out to 3 updates"):
        DualGAN(*ours).step({"y": a[:5], "x": b[:5]})


def test_dual_gan_clips_both_critics_and_no_generator():
    nets = cycle_players()
    method = DualGAN(*nets, n_critic=2, lr=1.0, clip=0.02)
    for _ in range(2):
        method.step({"y": images(2, dtype=torch.float64), "x": images(2, seed=1, dtype=torch.float64)})
    largest = [max(p.abs().max() for p in weights(net)) for net in nets]
    assert max(largest[2:]) <= 0.02 < min(largest[:2])
    assert method.objective == "wgan" and DiscoGAN(*cycle_players()).objective == "gan-ma"


def crossed(slip: str) -> type[CycleGAN]:
    """`CycleGAN` with one slip in it."""

    class Crossed(CycleGAN):
        def step(self, batch):
            a, b = batch["y"], batch["x"]
            table = OBJECTIVES[self.objective]
            to_b, to_a = self.G_B(a), self.G_A(b)
            fakes = (to_b, to_a) if slip == "discriminators exchanged" else (to_a, to_b)
            loss_D = self.update_D(a, b, fakes[0].detach(), fakes[1].detach())
            back_a, back_b = self.G_A(to_b), self.G_B(to_a)
            if slip == "cycle detached":
                back_a, back_b = self.G_A(to_b.detach()), self.G_B(to_a.detach())
            cycle = self.distance(back_a, a) + self.distance(back_b, b)
            if slip == "one cycle only":
                cycle = self.distance(back_a, a)
            if slip == "cycle ends at the translation":
                cycle = self.distance(back_a, to_b) + self.distance(back_b, to_a)
            same = (self.G_B(b) - b).abs().mean() + (self.G_A(a) - a).abs().mean()
            if slip == "identity of the other domain":
                same = (self.G_B(a) - a).abs().mean() + (self.G_A(b) - b).abs().mean()
            lam = 1.0 if slip == "lam not applied" else self.lam
            kept = [g.clone() for g in gradients(self.D_B, self.D_A)]
            loss = table.generator(self.D_B(to_b)) + table.generator(self.D_A(to_a)) + lam * cycle
            loss = loss + self.identity * same
            self.opt_G.zero_grad()
            loss.backward()
            for p, g in zip((*self.D_B.parameters(), *self.D_A.parameters()), kept, strict=True):
                p.grad = g
            self.opt_G.step()
            values = {"loss_G": loss, "loss_D": loss_D, "cycle": cycle, "identity": same}
            return {name: value.detach() for name, value in values.items()}

    return Crossed


def test_a_cycle_with_a_slip_is_found_out():
    assert distance_from_the_cycle(crossed("none")) < 1e-6
    for slip in (
        "discriminators exchanged",
        "cycle detached",
        "one cycle only",
        "cycle ends at the translation",
        "identity of the other domain",
        "lam not applied",
    ):
        assert distance_from_the_cycle(crossed(slip)) > 1e-4, slip
    assert distance_from_the_cycle(CycleGAN, oracle="gan") > 1e-4


def test_half_the_loss_of_the_discriminators_makes_no_difference_to_adam():
    """Zhu and colleagues halve it; Adam divides by the size of the gradient, so only its epsilon notices."""

    def halve(optimizer, *_):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad.div_(2)

    batch = {"y": images(2, dtype=torch.float64), "x": images(2, seed=1, dtype=torch.float64)}
    both = [cycle_players() for _ in range(2)]
    for nets, halved in zip(both, (False, True), strict=True):
        method = CycleGAN(*nets, lr=0.01)
        if halved:
            method.opt_D.register_step_pre_hook(halve)
        for _ in range(3):
            method.step(batch)
    moved = zip(weights(*both[0]), weights(*cycle_players()), strict=True)
    apart = zip(weights(*both[0]), weights(*both[1]), strict=True)
    largest = [max(float((p - q).abs().max()) for p, q in pairs_) for pairs_ in (moved, apart)]
    assert largest[1] < 1e-3 * largest[0]


def test_the_learning_rate_falls_to_zero_and_stays_there():
    method = CycleGAN(*cycle_players(), lr=0.1, decay=(2, 6))
    batch = {"y": images(2, dtype=torch.float64), "x": images(2, seed=1, dtype=torch.float64)}
    rates = []
    for _ in range(8):
        rates.append([group["lr"] for opt in method.optimizers().values() for group in opt.param_groups])
        method.step(batch)
    assert np.allclose(rates, np.array([[0.1, 0.1, 0.1, 0.075, 0.05, 0.025, 0, 0]]).T)
    before = weights(*(copy.deepcopy(net) for net in method.networks().values()))
    method.step(batch)
    assert all(map(torch.equal, weights(*method.networks().values()), before))


def test_a_buffer_fills_and_then_exchanges_half():
    torch.manual_seed(0)
    buffer, handed, kept = Buffer((10, 1, 2, 2)), [], 0
    for k in range(500):
        x = torch.arange(4 * k, 4 * k + 4.0).add(1).view(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
        out = buffer(x)
        assert (out == out[:, :, :1, :1]).all(), "an image comes back whole"
        assert (out > 0).all(), "nothing that was never put in"
        fresh = (out == x).flatten(1).all(1)
        if k < 2:
            assert fresh.all()
        elif k > 2:
            kept += int(fresh.sum())
        handed += out[~fresh, 0, 0, 0].tolist()
        assert buffer.filled == min(4 * k + 4, 10)
    assert abs(kept / (4 * 497) - 0.5) < 0.04
    assert len(set(handed)) == len(handed), "what was handed out is stored no more"
    stored = buffer.images[:, 0, 0, 0].tolist()
    assert len(set(stored)) == 10 and not set(stored) & set(handed) and min(stored) > 0
    assert set(buffer.state_dict()) == {"images", "filled"}


def test_only_the_discriminators_see_the_past():
    torch.manual_seed(0)
    method, seen = CycleGAN(*cycle_players(), lr=1e-3, buffer=(2, 1, 8, 8)), []
    method.double().D_B.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))
    batch = {"y": images(2, dtype=torch.float64), "x": images(2, seed=1, dtype=torch.float64)}
    old = 0
    for _ in range(10):
        fake = method.G_B(batch["y"]).detach()
        seen.clear()
        method.step(batch)
        old += int((seen[0][2:] != fake).flatten(1).any(1).sum())
        assert torch.equal(seen[1], fake)
    assert 0 < old < 18


def test_a_cycle_learns_a_known_invertible_map_without_pairs():
    y, x, new = blobs(128, 0), -blobs(128, 2), blobs(32, 1)
    torch.manual_seed(0)
    nets = small_net(), small_net(), PatchCritic(width=8, stages=1), PatchCritic(width=8, stages=1)
    method = CycleGAN(*nets, lr=2e-3, decay=(150, 250))
    training.fit(method, {"y": y, "x": x}, steps=250, batch_size=8, seed=0, precision="float32")
    made = method.translate(new)
    assert (made + new).abs().mean() < 0.15 < (new + new).abs().mean()
    assert method.G is method.G_B and (method.G_A(made) - new).abs().mean() < 0.1
