"""Dense networks and DCGAN: sizes by formula, the rules, what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from architecture_parts import corners, finds_both_corners, players
from torch import nn

from medgan_lib.methods import GAN
from medgan_lib.networks import (
    BandGenerator,
    DCCritic,
    DCGenerator,
    DenseCritic,
    DenseGenerator,
    pooled_down,
    pooled_up,
)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


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


def test_dcgan_learns():
    torch.manual_seed(1)
    x = corners(512, 16)
    assert finds_both_corners(x)
    method = GAN(DCGenerator((1, 16, 16), 8, 16), DCCritic((1, 16, 16), 16), lr=2e-3, betas=(0.5, 0.999), ema=0.9)
    for _ in range(300):
        method.step({"x": x[torch.randperm(512)[:32]]})
    assert finds_both_corners(method.sample(256))


@pytest.mark.parametrize("size", [(1, 4, 4), (1, 24, 24), (1, 32, 16), (1, 32)])
def test_dcgan_refuses_other_shapes(size):
    for make in (lambda: DCGenerator(size), lambda: DCCritic(size)):
        with pytest.raises(ValueError, match=r"not supported: it must be .* power of two from 8 pixels upwards"):
            make()


def test_networks_refuse_images_of_another_size():
    _, D = players()
    D.grow(8)
    wrong = torch.zeros(1, 3, 16, 16)
    for critic in (D, DCCritic((3, 32, 32), 4), DenseCritic((3, 8, 8), 4)):
        with pytest.raises(ValueError, match=r"images of shape \(3, 16, 16\) for a network made for"):
            critic(wrong)
    with pytest.raises(ValueError, match="for a network made for"):
        BandGenerator((3, 8, 8))(torch.zeros(1, 64), wrong)
