"""Networks that grow."""

from __future__ import annotations

import copy

import pytest
import torch
from architecture_parts import corners, finds_both_corners, players, same
from torch.nn import functional as F

from medgan_lib import training
from medgan_lib.methods import GAN, ProgressiveGAN
from medgan_lib.networks import ProCritic, ProGenerator


def test_only_stages_in_use_learn():
    G, D = players()
    for net, given in ((G, torch.randn(4, 6)), (D, torch.randn(4, 3, 8, 8))):
        net.grow(8, 0.5)
        net(given).square().sum().backward()
        used = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        unused = {name for name, p in net.named_parameters() if p.grad is None}
        assert used | unused == {name for name, _ in net.named_parameters()}
        assert {name.split(".")[1] for name in used if "image" in name} == {"0", "1"}
        assert {name.split(".")[1] for name in unused} == {"1", "2"}  # the second stage and the third image layer


def test_growth_is_in_the_state():
    G, _ = players()
    G.grow(8, 0.25)
    other = players(1)[0]
    other.load_state_dict(G.state_dict())
    assert (other.resolution, other.alpha) == (8, 0.25)
    assert torch.equal(other(torch.ones(1, 6)), G(torch.ones(1, 6)))
    assert copy.deepcopy(other).resolution == 8


def progressive(seed: int = 0, **options) -> ProgressiveGAN:
    options = {"objective": "gan-ma", "fade": 3, "hold": 2, "ema": 0.9} | options
    return ProgressiveGAN(*players(seed), **options)


def test_schedule():
    method = progressive()
    plan = [method.schedule(step) for step in range(14)]
    fade = [0.25, 0.5, 0.75, 1.0, 1.0]
    assert plan == [(4, 1.0)] * 2 + [(8, a) for a in fade] + [(16, a) for a in fade] + [(16, 1.0)] * 2
    assert [progressive(fade=0, hold=1).schedule(step)[0] for step in range(4)] == [4, 8, 16, 16]


def test_real_images_are_seen_as_the_generator_shows_its_own():
    method, x = progressive(), torch.randn(2, 3, 16, 16)
    for player in method.networks().values():
        player.grow(8, 0.25)
    fine, coarse = F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)
    expected = 0.25 * fine + 0.75 * coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(method.seen(x), expected)
    assert method.sample(2).shape == method.seen(x).shape


@pytest.mark.parametrize("objective", ["gan-ma", "wgan-gp"])
def test_one_stage_equals_the_fixed_network(objective):
    """While nothing grows, growing is an ordinary GAN: the same weights, bit for bit."""
    growing = progressive(objective=objective, hold=99)
    fixed = GAN(*players(), objective, ema=0.9)
    for player in fixed.networks().values():
        player.grow(4)
    for method in (growing, fixed):
        torch.manual_seed(3)
        for _ in range(3):
            x = torch.randn(4, 3, 16, 16)
            method.step({"x": x if method is growing else F.avg_pool2d(x, 4)})
    assert same(growing.G, fixed.G) and same(growing.D, fixed.D) and same(growing.G_ema, fixed.G_ema)


@pytest.mark.parametrize("options", [{"objective": "gan-ma", "r1": 0.1, "lazy": 3}, {"objective": "wgan-gp"}])
def test_resumes_in_the_middle_of_a_fade(tmp_path, options):
    data = {"x": torch.randn(20, 3, 16, 16).clamp(-1, 1)}
    settings = {"batch_size": 4, "seed": 5, "precision": "float32"}
    whole = training.fit(progressive(**options), data, steps=11, **settings)
    for stop in (4, 9):  # alpha 0.5 at 8 pixels, and 0.75 at 16
        path = tmp_path / f"{stop}.pt"
        part = training.fit(progressive(**options), data, steps=stop, checkpoint=path, **settings)
        assert part.method.G.alpha < 1
        rest = training.fit(progressive(seed=1, **options), data, steps=11, checkpoint=path, **settings)
        assert same(rest.method, whole.method)
        assert all(torch.equal(rest.history[k], whole.history[k]) for k in whole.history)
        assert torch.equal(rest.method.sample(3, torch.Generator().manual_seed(0)),
                           whole.method.sample(3, torch.Generator().manual_seed(0)))


def test_growing_learns():
    """The same after growing from 4 to 16 pixels, in two channels that mirror each other."""
    torch.manual_seed(1)
    x = corners(512, 16)
    x = torch.cat([x, -x], 1)
    same = {"most": 32, "refine": False}
    G, D = ProGenerator((2, 16, 16), 8, 16, **same), ProCritic((2, 16, 16), 16, deviation=False, **same)
    method = ProgressiveGAN(G, D, "wgan-gp", fade=40, hold=60, lr=1e-2, betas=(0.0, 0.99), ema=0.9)
    for _ in range(300):
        method.step({"x": x[torch.randperm(512)[:32]]})
    fake = method.sample(256)
    assert finds_both_corners(fake[:, :1]) and finds_both_corners(-fake[:, 1:])


@pytest.mark.parametrize("size", [(1, 4, 4), (1, 12, 12), (1, 32, 16), (1, 32)])
def test_growing_refuses_other_shapes(size):
    for make in (ProGenerator, ProCritic):
        with pytest.raises(ValueError, match=r"not supported: it must be .* size of 4 doubled once or more"):
            make(size)


@pytest.mark.parametrize(
    ("resolution", "alpha", "message"),
    [(12, 1.0, "resolution 12 is not one of 4, 8, 16"), (8, 1.5, r"must be in \[0, 1\]"), (4, 0.5, "1 at the first")],
)
def test_growing_refuses(resolution, alpha, message):
    with pytest.raises(ValueError, match=message):
        players()[0].grow(resolution, alpha)


@pytest.mark.parametrize("per_sample", [True, False])
def test_drift_joins_the_loss(per_sample):
    """The gradients of D are those of its loss with epsilon E[D(x)^2] written out."""
    method, plain = (progressive(objective="wgan-gp", penalty=0.0, hold=99, drift=drift) for drift in (0.3, 0.0))
    x, z = torch.randn(6, 3, 4, 4), torch.randn(6, 6)
    for game in (method, plain):
        game.step({"x": torch.randn(6, 3, 16, 16)})
        game.load_state_dict(method.state_dict())
        game.D.per_sample = per_sample
        game.noise = lambda n, generator=None: z
    value = method.D(x)
    loss = method.D(method.G(z)).mean() - value.mean() + 0.3 * value.square().mean()
    (expected,) = torch.autograd.grad(loss, method.D.dense.weight)
    method.update_D(x)
    torch.testing.assert_close(method.D.dense.weight.grad, expected)
    plain.update_D(x)
    assert not torch.allclose(plain.D.dense.weight.grad, expected)


def test_lazy_r1_is_due_at_every_third_step_and_three_times_as_strong():
    method = progressive(hold=99, r1=0.2, lazy=3)
    for step in range(7):
        x, z = torch.randn(6, 3, 4, 4), torch.randn(6, 6)
        method.noise = lambda n, generator=None, z=z: z
        real = x.clone().requires_grad_(True)
        loss = F.softplus(-method.D(real)).mean() + F.softplus(method.D(method.G(z))).mean()
        if step % 3 == 0:
            (slope,) = torch.autograd.grad(method.D(real).sum(), real, create_graph=True)
            loss = loss + 3 * 0.2 / 2 * slope.square().flatten(1).sum(1).mean()
        (expected,) = torch.autograd.grad(loss, method.D.dense.weight)
        kept = copy.deepcopy(method.D.state_dict())
        method.update_D(x)
        torch.testing.assert_close(method.D.dense.weight.grad, expected)
        method.D.load_state_dict(kept)
        method.step({"x": torch.randn(6, 3, 16, 16)})


def test_minibatches_shrink_as_images_grow():
    seen = []
    method = progressive(fade=1, hold=1, pixels=32, n_critic=2)
    update = method.update_D
    method.update_D = lambda x: (seen.append(tuple(x.shape[::3])), update(x))[1]
    x = torch.arange(20.0).view(20, 1, 1, 1).expand(-1, 3, 16, 16) / 20
    for _ in range(4):
        method.step({"x": x})
    assert seen == [(8, 4)] * 2 + [(4, 8)] * 4 + [(2, 16)] * 2


def test_progressive_refuses():
    with pytest.raises(ValueError, match="drift must be 0 or more"):
        progressive(drift=-1.0)
    with pytest.raises(ValueError, match="lazy must be at least 1"):
        progressive(lazy=0)
    with pytest.raises(ValueError, match="pixels must be 0 or at least 16"):
        progressive(pixels=8)
    with pytest.raises(ValueError, match=r"G grows over .* D over"):
        ProgressiveGAN(ProGenerator((1, 16, 16), 4, 4), ProCritic((1, 32, 32), 4), fade=1, hold=1)
    with pytest.raises(ValueError, match="hold must be at least 1"):
        progressive(hold=0)
