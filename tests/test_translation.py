"""Image translation: networks, Eqs. 6-8 and the cycle against oracles in float64, what they learn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from medgan_lib import cohorts, training
from medgan_lib.cohorts.problems.translation import domains, pairs, unpaired
from medgan_lib.methods.cyclegan import Buffer, CycleGAN, DiscoGAN, DualGAN
from medgan_lib.methods.translation import Pix2Pix, SelfRegularisedGAN, judge
from medgan_lib.networks.translators import (
    DilatedTranslator,
    InstanceNorm,
    PatchCritic,
    ResNetTranslator,
    UNet,
)
from medgan_lib.objectives import OBJECTIVES

TRANSLATORS = {
    "UNet": lambda dims=2, **more: UNet(width=4, depth=2, dims=dims, **more),
    "ResNetTranslator": lambda dims=2, **more: ResNetTranslator(width=4, blocks=1, dims=dims, **more),
    "DilatedTranslator": lambda dims=2, **more: DilatedTranslator(width=4, dims=dims, **more),
}


def images(n: int, size: tuple[int, ...] = (8, 8), seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    noise = torch.randn(n, 1, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise.mul(0.5).clamp(-1, 1).to(dtype)


# --- networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_keep_the_size_in_every_dimension(name, dims):
    size = (16, 8, 12)[:dims]
    torch.manual_seed(0)
    net = TRANSLATORS[name](dims, inputs=2, outputs=3)
    made = net(torch.randn(2, 2, *size))
    assert made.shape == (2, 3, *size) and made.abs().max() <= 1
    made.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", TRANSLATORS)
def test_an_image_is_translated_alike_alone_among_others_and_in_evaluation(name):
    torch.manual_seed(0)
    net = TRANSLATORS[name]().double()
    y = images(3, (16, 16), dtype=torch.float64)
    together = net(y)
    torch.testing.assert_close(torch.cat([net(one) for one in y.split(1)]), together, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(net(y.requires_grad_())[1].sum(), y)
    assert gradient[1].abs().max() > 0 and not gradient[[0, 2]].any()
    assert torch.equal(net.eval()(y), together)
    assert net.per_sample


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (TRANSLATORS["UNet"](), (1, 1, 8, 10), "8 x 10 pixels for a network that needs multiples of 4: pad them"),
        (TRANSLATORS["ResNetTranslator"](), (1, 1, 6, 8), "6 x 8 pixels for a network that needs multiples of 4"),
        (TRANSLATORS["UNet"](), (1, 2, 8, 8), r"shape \(1, 2, 8, 8\), this network takes \(n, 1, \*size\)"),
        (TRANSLATORS["DilatedTranslator"](), (1, 8), r"shape \(1, 8\), this network takes"),
        (PatchCritic(width=2), (1, 1, 32, 11), r"images of \(32, 11\) pixels, patches need 12"),
    ],
)
def test_images_that_do_not_fit_are_refused(net, shape, message):
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(shape))


def test_the_smallest_images_pass():
    """Down to one pixel at the bottom of the U, which is its own mean, whether there is one image or more."""
    torch.manual_seed(0)
    assert UNet(width=2, depth=3)(images(1)).shape == (1, 1, 8, 8)
    assert DilatedTranslator(width=2)(images(1, (5, 7))).shape == (1, 1, 5, 7)
    for stages in (0, 1, 2):
        critic = PatchCritic(width=2, stages=stages)
        assert critic(images(1, (critic.least,) * 2)).shape == (1, 1, 1)


def extent(net: nn.Module, size: int, dims: int) -> list[int]:
    """Along each axis, over how many pixels the gradient of the output in the middle reaches."""
    x = torch.randn(1, 1, *[size] * dims, dtype=torch.float64, requires_grad=True)
    output = net.double()(x)
    (gradient,) = torch.autograd.grad(output[0][(..., *(k // 2 for k in output.shape[-dims:]))].sum(), x)
    touched = gradient[0, 0].nonzero()
    return (touched.max(0).values - touched.min(0).values + 1).tolist()


@pytest.mark.parametrize(
    ("stages", "dims", "pixels"), [(0, 2, 1), (1, 2, 16), (2, 2, 34), (3, 1, 70), (1, 3, 16), (2, 1, 34)]
)
def test_a_patch_is_as_large_as_it_says(stages, dims, pixels):
    torch.manual_seed(0)
    critic = PatchCritic(width=2, stages=stages, dims=dims)
    assert critic.receptive_field == pixels
    assert extent(critic, 2 * pixels + 8, dims) == [pixels] * dims


def test_a_dilated_translator_sees_47_pixels_but_for_its_norms():
    """Instance norm lets every pixel of a channel share in two numbers; without it, what is seen is local."""
    torch.manual_seed(0)
    net = DilatedTranslator(width=2)
    for part in net.layers:
        if isinstance(part, nn.Sequential):
            part[1] = nn.Identity()
    assert extent(net, 61, 2) == [47, 47]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_instance_norm_is_the_one_of_torch(dtype, tolerance, layout):
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(3).to(dtype), nn.InstanceNorm2d(3, affine=True, dtype=dtype)
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.copy_(p.add_(torch.randn_like(p)))
    x = (3 + 2 * torch.randn(4, 3, 6, 5, dtype=dtype)).contiguous(memory_format=layout)
    towards = torch.randn_like(x)
    found = []
    for norm in (ours, theirs):
        x = x.detach().requires_grad_()
        made = norm(x)
        found.append([made, *torch.autograd.grad((made * towards).sum(), [x, *norm.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    assert torch.equal(ours.eval()(x), found[0][0])


def test_dropout_is_for_training_only():
    torch.manual_seed(0)
    net, y = UNet(width=4, depth=2, dropout=0.5), images(2)
    assert not torch.equal(net(y), net(y))
    assert torch.equal(net.eval()(y), net(y))


# --- oracles of Table 1, Adam's first step, and gradients -------------------------------------------------------

LOSSES = {  # a sample's term in plain formulae: D on real, D on generated, G
    "gan": (
        lambda l: -torch.log(torch.sigmoid(l)),
        lambda l: -torch.log(1 - torch.sigmoid(l)),
        lambda l: torch.log(1 - torch.sigmoid(l)),
    ),
    "gan-ma": (
        lambda l: -torch.log(torch.sigmoid(l)),
        lambda l: -torch.log(1 - torch.sigmoid(l)),
        lambda l: -torch.log(torch.sigmoid(l)),
    ),
    "lsgan": (lambda l: (l - 1) ** 2, lambda l: l**2, lambda l: (l - 1) ** 2),
    "wgan": (lambda l: -l, lambda l: l, lambda l: -l),
}


def expectation(terms) -> torch.Tensor:
    """Mean over samples, of means over what each sample gave."""
    return sum(term.mean() for term in terms) / len(terms)


def each(net: nn.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The net on one sample after the other."""
    return [net(*(part[i : i + 1] for part in inputs)) for i in range(len(inputs[0]))]


def first_step(nets: list[nn.Module], loss: torch.Tensor, lr: float) -> list[torch.Tensor]:
    """Gradients of the loss; the nets are moved as Adam moves them the first time."""
    parameters = [p for net in nets for p in net.parameters()]
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= lr * g / (g.abs() + 1e-8)
    return list(gradients)


def worst(pairs_) -> float:
    """Largest difference relative to the largest of what is expected."""
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in pairs_)


def gradients(*nets: nn.Module) -> list[torch.Tensor]:
    return [p.grad for net in nets for p in net.parameters()]


def weights(*nets: nn.Module) -> list[torch.Tensor]:
    return [p.detach() for net in nets for p in net.parameters()]


# --- Eq. 6 ------------------------------------------------------------------------------------------------------


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


# --- Eqs. 7 and 8 -----------------------------------------------------------------------------------------------


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


# --- the cycle --------------------------------------------------------------------------------------------------


def cycle_players() -> list[nn.Module]:
    torch.manual_seed(0)
    generators = [UNet(width=2, depth=1).double() for _ in range(2)]
    return [*generators, *(PatchCritic(width=2, stages=1).double() for _ in range(2))]


def distance_from_the_cycle(
    kind: type[CycleGAN] = CycleGAN, identity: float = 0.5, lam: float = 3.0, objective: str = "lsgan", **options
) -> float:
    """Of losses, gradients and weights after a step of all four, from the formulae written out."""
    G_B, G_A, D_B, D_A = nets = cycle_players()
    ours = copy.deepcopy(nets)
    a, b = images(4, seed=1, dtype=torch.float64), images(4, seed=2, dtype=torch.float64)
    method = kind(*ours, lam=lam, identity=identity, lr=0.01, **options)
    history = method.step({"y": a, "x": b})
    real, generated, game = LOSSES[objective]
    to_b, to_a = torch.cat(each(G_B, a)), torch.cat(each(G_A, b))
    loss_D = sum(
        expectation([real(l) for l in each(D, seen)]) + expectation([generated(l) for l in each(D, fake.detach())])
        for D, seen, fake in ((D_B, b, to_b), (D_A, a, to_a))
    )
    compared = list(zip(gradients(*ours[2:]), first_step([D_B, D_A], loss_D, 0.01), strict=True))
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
    compared += zip(gradients(*ours[:2]), first_step([G_B, G_A], loss_G, 0.01), strict=True)
    compared += zip(weights(*ours), weights(*nets), strict=True)
    expected = {"loss_G": loss_G, "loss_D": loss_D, "cycle": cycle} | ({"identity": same} if identity else {})
    assert list(history) == list(expected)
    return worst([*compared, *((history[name], value.detach()) for name, value in expected.items())])


@pytest.mark.parametrize("identity", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "objective", "options"),
    [(CycleGAN, "lsgan", {}), (CycleGAN, "gan", {"objective": "gan"}), (DualGAN, "wgan", {}), (DiscoGAN, "gan-ma", {})],
)
def test_the_cycle_is_as_its_formulae_say(kind, objective, options, identity):
    made = kind if not options else lambda *nets, **more: CycleGAN(*nets, **options, **more)
    assert distance_from_the_cycle(made, identity, objective=objective) < 1e-6


def test_dual_gan_clips_both_critics_and_no_generator():
    nets = cycle_players()
    method = DualGAN(*nets, lr=1.0, clip=0.02)
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
    assert distance_from_the_cycle(CycleGAN, objective="gan") > 1e-4


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


# --- the buffer -------------------------------------------------------------------------------------------------


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


# --- what they learn --------------------------------------------------------------------------------------------


def blobs(n: int, seed: int) -> torch.Tensor:
    """Bright discs in two sizes on dark (n, 1, 16, 16), with a little noise."""
    draw = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    centre = 4 + 8 * torch.rand(n, 2, 1, 1, generator=draw)
    radius = 2 + 2 * torch.rand(n, 1, 1, generator=draw)
    disc = torch.tanh(radius - (grid - centre).square().sum(1).sqrt())[:, None]
    return (0.3 + 0.6 * disc + 0.03 * torch.randn(disc.shape, generator=draw)).clamp(-1, 1)


def small_net(width: int = 8) -> UNet:
    return UNet(width=width, depth=1)


def test_pix2pix_learns_a_known_map():
    y, new = blobs(128, 0), blobs(32, 1)
    torch.manual_seed(0)
    method = Pix2Pix(small_net(), PatchCritic(2, width=8, stages=1), lr=2e-3)
    training.fit(method, {"y": y, "x": -y}, steps=150, batch_size=8, seed=0, precision="float32")
    assert (method.translate(new) + new).abs().mean() < 0.1
    assert method.G.training and torch.equal(method.translate(new, batch_size=5), method.translate(new))


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


def test_a_cycle_learns_a_known_invertible_map_without_pairs():
    y, x, new = blobs(128, 0), -blobs(128, 2), blobs(32, 1)
    torch.manual_seed(0)
    nets = small_net(), small_net(), PatchCritic(width=8, stages=1), PatchCritic(width=8, stages=1)
    method = CycleGAN(*nets, lr=2e-3, decay=(150, 250))
    training.fit(method, {"y": y, "x": x}, steps=250, batch_size=8, seed=0, precision="float32")
    made = method.translate(new)
    assert (made + new).abs().mean() < 0.15 < (new + new).abs().mean()
    assert method.G is method.G_B and (method.G_A(made) - new).abs().mean() < 0.1


METHODS = {
    "pix2pix": lambda: Pix2Pix(small_net(2), PatchCritic(2, width=2, stages=1)),
    "pix2pix without D": lambda: Pix2Pix(small_net(2), None, lambda1=0.0),
    "self-regularised": lambda: SelfRegularisedGAN(small_net(2), PatchCritic(width=2, stages=1), lam=1.0),
    "cycle": lambda: CycleGAN(
        *(small_net(2), small_net(2), PatchCritic(width=2, stages=1), PatchCritic(width=2, stages=1)),
        identity=0.5,
        buffer=(6, 1, 16, 16),
        decay=(2, 9),
    ),
    "dual": lambda: DualGAN(*(net() for net in [lambda: small_net(2)] * 2 + [lambda: PatchCritic(width=2)] * 2)),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(name, tmp_path):
    """Weights, the buffer's images and the learning rate, whichever leg they were made in."""

    def run(steps, seed=0, **more):
        torch.manual_seed(seed)
        data = {"y": blobs(20, 0), "x": -blobs(20, 1)}
        return training.fit(METHODS[name](), data, steps=steps, batch_size=4, seed=3, **more)

    whole = run(7)
    run(4, checkpoint=tmp_path / "run.pt")
    legs = run(7, seed=1, checkpoint=tmp_path / "run.pt")
    theirs = legs.method.state_dict()
    for key, value in whole.method.state_dict().items():
        assert torch.equal(theirs[key], value), key
    assert all(torch.equal(legs.history[key], value) for key, value in whole.history.items())
    for key, optimizer in whole.method.optimizers().items():
        assert optimizer.param_groups[0]["lr"] == legs.method.optimizers()[key].param_groups[0]["lr"]
    if name == "cycle":
        assert theirs["seen_B.filled"] == 6 and theirs["seen_B.images"].any()
        assert whole.method.opt_G.param_groups[0]["lr"] == pytest.approx(2e-4 * 2 / 7)


NET = nn.Identity()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pix2Pix(NET, NET, "gaan"), "unknown objective 'gaan'; there are gan, "),
        (lambda: Pix2Pix(NET, NET, lambda1=-1.0), "must be 0 or more and not both 0, not -1.0 and 100.0"),
        (lambda: Pix2Pix(NET, NET, lambda1=0.0, lambda2=0.0), "not both 0, not 0.0 and 0.0"),
        (lambda: Pix2Pix(NET, None), "needs a D"),
        (lambda: SelfRegularisedGAN(NET, NET, "gaan"), "unknown objective 'gaan'"),
        (lambda: SelfRegularisedGAN(NET, NET, lam=-1.0), "lam must be 0 or more, not -1.0"),
        (lambda: CycleGAN(NET, NET, NET, NET, "gaan"), "unknown objective 'gaan'"),
        (lambda: CycleGAN(NET, NET, NET, NET, identity=-1.0), "lam and identity must be 0 or more, not 10.0 and -1.0"),
        (lambda: CycleGAN(NET, NET, NET, NET, decay=(5, 5)), r"the first before the last, not \(5, 5\)"),
        (lambda: CycleGAN(*cycle_players(), buffer=(5, 1)), r"must be \(capacity, channels, \*size\), not \(5, 1\)"),
        (lambda: DualGAN(*cycle_players(), clip=0.0), "clip must be above 0, not 0.0"),
        (lambda: Buffer((2, 1, 4))(torch.zeros(3, 1, 4)), "a buffer of 2 images cannot take a batch of 3"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- pairs and domains ------------------------------------------------------------------------------------------


def test_domains_share_no_subject_and_show_one_side_each():
    paired = pairs("heads", size=32, n=12)
    heads = cohorts.load("heads", size=32, n=12, contrasts=("t1", "ct"))
    assert torch.equal(paired.x, heads["ct"]) and torch.equal(paired["y"], heads["t1"])
    assert paired.units["x"] == "HU" != paired.units["y"]
    a, b = domains(paired)
    assert len(a) + len(b) == 12 and not set(a.subjects.tolist()) & set(b.subjects.tolist())
    assert set(a.tensors) == set(b.tensors) == {"x"}
    for part, side in ((a, "y"), (b, "x")):
        assert part.units["x"] == paired.units[side] and part.window["x"] == paired.window[side]
        for subject, image in zip(part.subjects, part.x, strict=True):
            assert torch.equal(paired[side][paired.subjects == subject][0], image)
    data = unpaired(a[:4], b, seed=1)
    assert len(data["x"]) == len(data["y"]) == 6
    assert {one.numpy().tobytes() for one in data["y"]} == {one.numpy().tobytes() for one in a[:4].x}
    again, other = unpaired(a[:4], b, seed=1), unpaired(a[:4], b, seed=2)
    assert torch.equal(again["y"], data["y"]) and not torch.equal(other["x"], data["x"])
    with pytest.raises(ValueError, match="12 subjects are in both domains; split them first"):
        unpaired(paired.select(x="y"), paired.select(x="x"))


def test_a_cohort_without_pairs_says_so():
    with pytest.raises(ValueError, match="'digits' has no pairs: give 'heads', "):
        pairs("digits", n=4)
