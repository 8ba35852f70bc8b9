"""DCGAN's pieces, the Laplacian pyramid and progressive growing are what their papers and docstrings say."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medgan_lib import training
from medgan_lib.methods import GAN, LAPGAN, Band, ProgressiveGAN
from medgan_lib.methods.lapgan import collapse, down, pyramid, up
from medgan_lib.networks import (
    BandCritic,
    BandGenerator,
    DCCritic,
    DCGenerator,
    DenseCritic,
    DenseGenerator,
    GrowingCritic,
    GrowingGenerator,
    pooled_down,
    pooled_up,
)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# --- parameters by formula --------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 64])
def test_parameters_of_dense_networks(size):
    z, w, depth, p = 24, 40, 3, 2 * size * size
    hidden = (depth - 1) * (w + 1) * w
    assert count(DenseGenerator((2, size, size), z, w, depth)) == (z + 1) * w + hidden + (w + 1) * p
    assert count(DenseCritic((2, size, size), w, depth)) == (p + 1) * w + hidden + w + 1


@pytest.mark.parametrize(("size", "most"), [(8, 99), (32, 99), (64, 8)])
def test_parameters_of_dcgan(size, most):
    """Written out from the paper's figure: 4 x 4 kernels, channels doubling, two numbers a channel for the norm."""
    z, w, image = 12, 4, 2
    stages = {8: 1, 32: 3, 64: 4}[size]
    widths = [min(w * 2**i, most) for i in range(stages)]
    between = sum(16 * a * b for a, b in pairwise(widths))
    generator = z * 16 * widths[-1] + between + 16 * w * image + 2 * sum(widths)
    critic = 16 * image * w + between + 2 * sum(widths[1:]) + 16 * widths[-1] + 1
    assert count(DCGenerator((image, size, size), z, w, most=most)) == generator
    assert count(DCCritic((image, size, size), w, most=most)) == critic


# --- DCGAN's rules ----------------------------------------------------------------------------


def kinds(net: nn.Module) -> set[str]:
    return {type(layer).__name__ for layer in net.modules()}


def test_each_rule_changes_its_own_piece():
    """A removed rule takes its layers away, and the other two stay."""
    image = (1, 16, 16)
    pair = DCGenerator(image, 8, 4), DCCritic(image, 4)
    assert "ConvTranspose2d" in kinds(pair[0]) and not {"MaxPool2d", "Upsample"} & (kinds(pair[0]) | kinds(pair[1]))
    assert all("BatchNorm2d" in kinds(net) for net in pair)
    assert all(sum(isinstance(m, nn.Linear) for m in net.modules()) == 1 for net in pair)
    pooled = DCGenerator(image, 8, 4, up=pooled_up), DCCritic(image, 4, down=pooled_down)
    assert all(m.stride == (1, 1) for net in pooled for m in net.modules() if isinstance(m, nn.Conv2d))
    assert "Upsample" in kinds(pooled[0]) and "MaxPool2d" in kinds(pooled[1]) and "BatchNorm2d" in kinds(pooled[1])
    bare = DCGenerator(image, 8, 4, norm=nn.Identity), DCCritic(image, 4, norm=nn.Identity)
    assert not any("BatchNorm2d" in kinds(net) for net in bare)
    dense = DCGenerator(image, 8, 4, hidden=32), DCCritic(image, 4, hidden=32)
    assert all(next(m for m in net.modules() if isinstance(m, nn.Linear)).out_features == 32 for net in dense)


def test_a_critic_with_batch_norm_says_that_samples_depend_on_each_other():
    """`per_sample` is what lets a method pass real and generated samples together: it must be true, never hopeful."""
    torch.manual_seed(0)
    for norm in (nn.BatchNorm2d, nn.Identity):
        D = DCCritic((1, 16, 16), 4, norm=norm)
        x, other = torch.randn(2, 6, 1, 16, 16)
        alone, together = D(x), D(torch.cat([x, 3 * other]))[:6]
        assert torch.allclose(alone, together, atol=1e-5) == D.per_sample


def test_no_checkerboard_at_the_start_is_not_promised_but_scale_is():
    """He's rule for transposed convolutions: without norm the signal neither dies nor explodes over four stages."""
    torch.manual_seed(0)
    G = DCGenerator((1, 64, 64), 64, 16, norm=nn.Identity)
    before_tanh = nn.Sequential(*list(G.stages)[:-1])
    values = before_tanh(G.start(G.project(torch.randn(64, 64))))
    assert 0.5 < values.std() < 2


def corners(n: int, size: int) -> torch.Tensor:
    """Soft bright spots in one of two corners, (n, 1, size, size), as far apart as two images can be here."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, size)] * 2, indexing="ij"))
    centre = torch.where(torch.rand(n, 1, 1, 1) < 0.5, 0.25, 0.75) + 0.05 * torch.randn(n, 2, 1, 1)
    return 2 * torch.exp(-(grid - centre).square().sum(1, keepdim=True) / 0.04) - 1


def finds_both_corners(fake: torch.Tensor) -> bool:
    """Most images have a bright spot in one corner and the other corner dark; neither corner is left out."""
    half = fake.shape[-1] // 2
    first, second = fake[..., :half, :half].mean((1, 2, 3)), fake[..., half:, half:].mean((1, 2, 3))
    side = (first - second).abs() > 0.3  # about 0.6 in truth
    return bool(side.float().mean() > 0.7 and 0.15 < (first > second).float().mean() < 0.85)


def test_dcgan_learns():
    torch.manual_seed(1)
    x = corners(512, 16)
    assert finds_both_corners(x)
    method = GAN(DCGenerator((1, 16, 16), 8, 16), DCCritic((1, 16, 16), 16), lr=2e-3, betas=(0.5, 0.999), ema=0.9)
    for _ in range(300):
        method.step({"x": x[torch.randperm(512)[:32]]})
    assert finds_both_corners(method.sample(256))


# --- the Laplacian pyramid --------------------------------------------------------------------


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_pyramid_reconstructs_exactly(levels):
    x = torch.randn(3, 2, 24, 16, dtype=torch.float64)
    bands = pyramid(x, levels)
    assert [b.shape[2:] for b in bands] == [(24 >> k, 16 >> k) for k in range(levels + 1)]
    assert (collapse(bands) - x).abs().max() < 1e-14
    if levels:
        torch.testing.assert_close(bands[-1], F.avg_pool2d(x, 1 << levels))


def test_a_band_is_what_the_coarse_image_lacks():
    """A coarse image that says everything leaves an empty band; detail that it can't hold is all in the band."""
    flat = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    checks = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    checks[..., ::2, 1::2] = checks[..., 1::2, ::2] = -1
    assert pyramid(flat, 1)[0].abs().max() < 1e-15
    torch.testing.assert_close(pyramid(flat + checks, 1)[0], checks)


def test_pyramid_refuses_odd_sizes():
    with pytest.raises(ValueError, match=r"12, 8.* can't be halved 3 times"):
        pyramid(torch.zeros(1, 1, 12, 8), 3)


class Blind(BandGenerator):
    """The mutant: a level that never looks at its coarse image."""

    def forward(self, z, l):
        return super().forward(z, torch.zeros_like(l))


def signs(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The sign of the coarse image decides that of the band: (l, h)."""
    sign = torch.randint(2, (n, 1, 1, 1)).float() * 2 - 1
    return (0.5 * sign).expand(n, 1, 8, 8), (0.6 * sign).expand(n, 1, 8, 8)


@pytest.mark.parametrize("generator", [BandGenerator, Blind])
def test_a_level_uses_its_coarse_image(generator):
    torch.manual_seed(0)
    level = Band(generator((1, 8, 8), 8), BandCritic((1, 8, 8), 8), lr=2e-3)
    for _ in range(120):
        l, h = signs(32)
        level.step({"x": h, "l": l})
    l, h = signs(400)
    agreement = (level.sample_on(l) * h).mean() / 0.36
    if generator is Blind:
        assert agreement < 0.3
    else:
        assert agreement > 0.6


def test_a_band_starts_at_the_scale_of_bands():
    torch.manual_seed(0)
    z, l = torch.randn(16, 256), torch.rand(16, 1, 16, 16) * 2 - 1
    plain, small = (BandGenerator((1, 16, 16), 8, scale=scale) for scale in (1.0, 0.1))
    small.load_state_dict(plain.state_dict())
    torch.testing.assert_close(small(z, l), 0.1 * plain(z, l))
    assert 0.03 < small(z, l).std() < 0.3


def lapgan() -> LAPGAN:
    torch.manual_seed(0)
    bands = [Band(BandGenerator((2, s, s), 4), BandCritic((2, s, s), 4), ema=0.5) for s in (16, 32)]
    return LAPGAN(GAN(DenseGenerator((2, 8, 8), 6, 8), DenseCritic((2, 8, 8), 8), ema=0.5), bands)


def test_lapgan_hands_every_level_its_own_band_and_coarse_image():
    method, x, seen = lapgan(), torch.randn(4, 2, 32, 32), {}
    for level in method.levels:
        level.step = lambda batch: seen.setdefault(batch["x"].shape[-1], batch) and {}
    method.step({"x": x})
    torch.testing.assert_close(seen[8]["x"], F.avg_pool2d(x, 4))
    for size in (16, 32):
        image = F.avg_pool2d(x, 32 // size)
        torch.testing.assert_close(seen[size]["l"], up(down(image)))
        torch.testing.assert_close(seen[size]["x"] + seen[size]["l"], image)


def test_lapgan_samples_build_on_each_other():
    method = lapgan()
    images = method.sample_levels(5, torch.Generator().manual_seed(1))
    assert [i.shape for i in images] == [(5, 2, s, s) for s in (8, 16, 32)]
    assert torch.equal(images[-1], method.sample(5, torch.Generator().manual_seed(1)))
    with torch.no_grad():  # a last level that adds nothing shows the coarse image
        method.levels[-1].G_ema.layers[-1].weight.zero_()
    images = method.sample_levels(5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(images[-1], up(images[-2]))


def test_levels_share_nothing():
    """A step of one level leaves the others where they were: no gradient crosses from one to the next."""
    method = lapgan()
    before = copy.deepcopy(method)
    method.levels[1].step({"x": torch.randn(4, 2, 16, 16), "l": torch.randn(4, 2, 16, 16)})
    assert [same(a, b) for a, b in zip(method.levels, before.levels, strict=True)] == [True, False, True]


def test_lapgan_refuses():
    with pytest.raises(ValueError, match="at least one band"):
        LAPGAN(GAN(DenseGenerator((1, 8, 8)), DenseCritic((1, 8, 8))), [])
    band = Band(BandGenerator((1, 16, 16)), BandCritic((1, 16, 16)), n_critic=2)
    with pytest.raises(ValueError, match="same n_critic"):
        LAPGAN(GAN(DenseGenerator((1, 8, 8)), DenseCritic((1, 8, 8))), [band])


# --- growing ----------------------------------------------------------------------------------

SHAPE = (3, 16, 16)


def players(seed: int = 0) -> tuple[GrowingGenerator, GrowingCritic]:
    torch.manual_seed(seed)
    return GrowingGenerator(SHAPE, 6, 4, most=8), GrowingCritic(SHAPE, 4, most=8)


@torch.no_grad()
def test_both_ends_of_a_fade():
    """alpha = 0: the resolution before, up-sampled (G) or averaged (D); alpha = 1: the new one alone."""
    G, D = players()
    z, x = torch.randn(5, 6), torch.randn(5, 3, 16, 16)
    for resolution in (8, 16):
        now = F.avg_pool2d(x, 16 // resolution)
        for net, given, before in ((G, z, None), (D, now, F.avg_pool2d(now, 2))):
            net.grow(resolution)
            new = net(given)
            net.grow(resolution, 0.0)
            faded = net(given)
            net.grow(resolution, 0.5)
            assert not torch.equal(net(given), new) and not torch.equal(net(given), faded)
            net.grow(resolution // 2)
            old = net(z).repeat_interleave(2, 2).repeat_interleave(2, 3) if before is None else net(before)
            torch.testing.assert_close(faded, old, rtol=0, atol=0)
            net.grow(resolution, 1 - 1e-7)
            torch.testing.assert_close(net(given), new)
    G.grow(16, 0.25)
    blended = G(z)
    G.grow(16, 0.0)
    low = G(z)
    G.grow(16)
    torch.testing.assert_close(blended, 0.75 * low + 0.25 * G(z))


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


@pytest.mark.parametrize("objective", ["gan-ma", "wgan-gp"])
def test_resumes_in_the_middle_of_a_fade(tmp_path, objective):
    data = {"x": torch.randn(20, 3, 16, 16).clamp(-1, 1)}
    settings = {"batch_size": 4, "seed": 5, "precision": "float32"}
    whole = training.fit(progressive(objective=objective), data, steps=11, **settings)
    for stop in (4, 9):  # alpha 0.5 at 8 pixels, and 0.75 at 16
        path = tmp_path / f"{stop}.pt"
        part = training.fit(progressive(objective=objective), data, steps=stop, checkpoint=path, **settings)
        assert part.method.G.alpha < 1
        rest = training.fit(progressive(seed=1, objective=objective), data, steps=11, checkpoint=path, **settings)
        assert same(rest.method, whole.method)
        assert all(torch.equal(rest.history[k], whole.history[k]) for k in whole.history)
        assert torch.equal(rest.method.sample(3, torch.Generator().manual_seed(0)),
                           whole.method.sample(3, torch.Generator().manual_seed(0)))


def test_growing_learns():
    """The same after growing from 4 to 16 pixels, in two channels that mirror each other."""
    torch.manual_seed(1)
    x = corners(512, 16)
    x = torch.cat([x, -x], 1)
    G, D = GrowingGenerator((2, 16, 16), 8, 16, most=32), GrowingCritic((2, 16, 16), 16, most=32)
    method = ProgressiveGAN(G, D, "wgan-gp", fade=40, hold=60, lr=2e-3, betas=(0.0, 0.99), ema=0.9)
    for _ in range(300):
        method.step({"x": x[torch.randperm(512)[:32]]})
    fake = method.sample(256)
    assert finds_both_corners(fake[:, :1]) and finds_both_corners(-fake[:, 1:])


# --- what isn't supported ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 4, 4), (1, 24, 24), (1, 32, 16), (1, 32)])
def test_dcgan_refuses_other_shapes(size):
    for make in (lambda: DCGenerator(size), lambda: DCCritic(size)):
        with pytest.raises(ValueError, match=r"not supported: it must be .* power of two from 8 pixels upwards"):
            make()


@pytest.mark.parametrize("size", [(1, 4, 4), (1, 12, 12), (1, 32, 16), (1, 32)])
def test_growing_refuses_other_shapes(size):
    for make in (GrowingGenerator, GrowingCritic):
        with pytest.raises(ValueError, match=r"not supported: it must be .* size of 4 doubled once or more"):
            make(size)


@pytest.mark.parametrize(
    ("resolution", "alpha", "message"),
    [(12, 1.0, "resolution 12 is not one of 4, 8, 16"), (8, 1.5, r"must be in \[0, 1\]"), (4, 0.5, "1 at the first")],
)
def test_growing_refuses(resolution, alpha, message):
    with pytest.raises(ValueError, match=message):
        players()[0].grow(resolution, alpha)


def test_networks_refuse_images_of_another_size():
    _, D = players()
    D.grow(8)
    wrong = torch.zeros(1, 3, 16, 16)
    for critic in (D, DCCritic((3, 32, 32), 4), DenseCritic((3, 8, 8), 4)):
        with pytest.raises(ValueError, match=r"images of shape \(3, 16, 16\) for a network made for"):
            critic(wrong)
    with pytest.raises(ValueError, match="for a network made for"):
        BandGenerator((3, 8, 8))(torch.zeros(1, 64), wrong)


def test_progressive_refuses():
    with pytest.raises(ValueError, match=r"G grows over .* D over"):
        ProgressiveGAN(GrowingGenerator((1, 16, 16), 4, 4), GrowingCritic((1, 32, 32), 4), fade=1, hold=1)
    with pytest.raises(ValueError, match="hold must be at least 1"):
        progressive(hold=0)
