"""The networks of Karras et al. 2018, and the layers that they are made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medgan_lib.networks import ProCritic, ProGenerator
from medgan_lib.networks.equalised import EqualConv, EqualLinear, MinibatchDeviation

SHAPE = (2, 16, 16)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_convolutions_that_resize(size: int, last: bool):
    """Repeating pixels before, or averaging 2 x 2 behind, an ordinary convolution of the scaled weights."""
    x = torch.randn(2, 5, 8, 8, dtype=torch.float64)
    given = x.contiguous(memory_format=torch.channels_last) if last else x
    for resize in (1, 2, 0.5):
        layer = EqualConv(5, 4, size, resize=resize, gain=1.5).double()
        nn.init.normal_(layer.bias)
        weight = layer.weight * 1.5 / (5 * size * size) ** 0.5
        before = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if resize == 2 else x
        expected = F.conv2d(before, weight, layer.bias, padding=size // 2)
        torch.testing.assert_close(layer(given), F.avg_pool2d(expected, 2) if resize == 0.5 else expected)


def test_equal_starts_and_unequal_steps():
    """Both kinds of layer compute numbers of the same size at the start; one step of Adam moves only one kind alike."""
    torch.manual_seed(0)
    moved = {}
    for equalised in (True, False):
        layers = [EqualConv(4, 64, equalised=equalised), EqualLinear(2000, 64, equalised=equalised)]
        given = [torch.randn(8, 4, 12, 12), torch.randn(8, 2000)]
        outputs = [layer(x) for layer, x in zip(layers, given, strict=True)]
        inside = [outputs[0][:, :, 1:-1, 1:-1], outputs[1]]
        assert all(abs(y.std().item() / 2**0.5 - 1) < 0.15 for y in inside)
        optimizer = torch.optim.Adam([layer.weight for layer in layers], 1e-3, (0.0, 0.99))
        before = [layer.weight.detach().clone() for layer in layers]
        sum(y.square().sum() for y in outputs).backward()
        optimizer.step()
        moved[equalised] = [((layer.weight - old).abs().mean() / old.std()).item()
                            for layer, old in zip(layers, before, strict=True)]
    assert moved[True] == pytest.approx([1e-3, 1e-3], rel=0.05)
    assert moved[False][1] > 5 * moved[False][0]


def test_deviation_within_groups():
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    out = MinibatchDeviation(4)(x)
    assert out.shape == (8, 4, 4, 4) and torch.equal(out[:, :3], x)
    # samples 0, 2, 4, 6 are a group, and 1, 3, 5, 7
    groups = [x[i::2].var(0, unbiased=False).add(1e-8).sqrt().mean() for i in range(2)]
    expected = torch.stack(groups * 4)
    torch.testing.assert_close(out[:, 3], expected.view(8, 1, 1).expand(8, 4, 4), rtol=1e-5, atol=1e-6)
    assert MinibatchDeviation()(x[:1].expand(8, -1, -1, -1))[:, 3].max() < 2e-4
    odd = MinibatchDeviation(4)(x[:6])[:, 3]  # six samples are one group
    torch.testing.assert_close(odd[0, 0, 0], x[:6].var(0, unbiased=False).sqrt().mean(), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("refine", [True, False])
def test_both_ends_of_a_fade(refine: bool):
    """alpha = 0: the resolution before, up-sampled (G) or averaged (D); alpha = 1: the new one alone."""
    torch.manual_seed(0)
    G, D = ProGenerator(SHAPE, 6, 4, most=8, refine=refine), ProCritic(SHAPE, 4, most=8, refine=refine)
    z, x = torch.randn(8, 6), torch.randn(8, *SHAPE)
    for resolution in (8, 16):
        now = F.avg_pool2d(x, 16 // resolution)
        for net, given, before in ((G, z, None), (D, now, F.avg_pool2d(now, 2))):
            net.grow(resolution)
            new = net(given)
            net.grow(resolution, 0.0)
            faded = net(given)
            assert not torch.allclose(faded, new)
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


def test_only_the_deviation_joins_samples():
    torch.manual_seed(0)
    x = torch.randn(4, *SHAPE)
    alone = ProCritic(SHAPE, 4, most=8, deviation=False)
    assert alone.per_sample
    torch.testing.assert_close(alone(x), torch.cat([alone(x[i : i + 1]) for i in range(4)]))
    together = ProCritic(SHAPE, 4, most=8)
    assert not together.per_sample
    assert not torch.allclose(together(x), torch.cat([together(x[i : i + 1]) for i in range(4)]))


def test_refining_is_a_second_convolution():
    counts = {refine: sum(isinstance(m, EqualConv) for m in ProGenerator(SHAPE, 6, 4, refine=refine).modules())
              for refine in (True, False)}
    assert counts[True] == counts[False] + 2  # at 8 and at 16 pixels


def test_refuses_other_resizing():
    with pytest.raises(ValueError, match=r"0\.5, 1 or 2"):
        EqualConv(1, 1, resize=3)
