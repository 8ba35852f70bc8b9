"""Networks: what they compute, for every size they promise, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medgan_lib.networks import MLP, Critic, Encoder, Generator, ResizeConv

SHAPES = ((1, 32), (2, 40), (1, 32, 32), (3, 16, 40), (1, 8, 24), (1, 16, 8, 24))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(5,), (4, 6), (3, 4, 2)], ids=str)
def test_resize_convolution_is_upsampling_then_convolution(size):
    layer = ResizeConv(len(size), 3, 4).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    conv = (F.conv1d, F.conv2d, F.conv3d)[len(size) - 1]
    expected = conv(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, padding=1)
    torch.testing.assert_close(layer(x), expected)
    weights = torch.randn_like(expected)
    ours, plain = (torch.autograd.grad((y * weights).sum(), (x, layer.weight)) for y in (layer(x), expected))
    torch.testing.assert_close(ours, plain)


def checkerboard(generator: nn.Module, stride: int) -> float:
    """Power at the frequencies that a stride imprints, against the power around each of them (geometric mean)."""
    with torch.no_grad():
        x = generator(torch.randn(64, 16))[..., 8:-8, 8:-8]  # without the rim, where padding shows
    n = x.shape[-1]
    window = torch.hann_window(n)
    power = torch.fft.fft2((x - x.mean()) * window * window[:, None]).abs().square().mean(dim=(0, 1))
    lattice = range(0, n, n // stride)
    peaks = [
        power[i, j]
        / torch.stack([power[(i + k) % n, (j + m) % n] for k, m in ((3, 0), (-3, 0), (0, 3), (0, -3))]).mean()
        for i in lattice
        for j in lattice
        if i or j
    ]
    return torch.stack(peaks).log().mean().exp().item()


def test_no_checkerboard_in_the_spectrum():
    """An untrained generator of ours has no peak at any of its strides; one with transposed convolutions has."""
    for seed in range(4):
        torch.manual_seed(seed)
        generator = Generator((1, 64, 64), latent=16, width=16)
        ours = [checkerboard(generator, stride) for stride in (2, 4, 8)]
        for i, layer in enumerate(generator.layers):
            if isinstance(layer, ResizeConv):
                outputs, inputs = layer.weight.shape[:2]
                generator.layers[i] = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        theirs = [checkerboard(generator, stride) for stride in (2, 4, 8)]
        assert max(ours) < 1.5 < 2.5 < min(theirs), (seed, ours, theirs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_size_trains(shape):
    """Each network makes what it promises, and every one of its weights takes part."""
    G, D, E = Generator(shape, latent=5, width=8), Critic(shape, width=8), Encoder(shape, 3, width=8)
    x = G(torch.randn(4, G.latent))
    assert x.shape == (4, *shape) and x.abs().max() <= 1 and x.std() > 0.05
    assert D(x).shape == (4,) and E(x).shape == (4, 3) and E.features(x).shape == (4, 64)
    (D(x).sum() + E(x).square().sum()).backward()
    for network in (G, D, E):
        assert all(p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_critic_judges_each_sample_by_itself(shape):
    D = Critic(shape, width=8).double()
    x = torch.randn(6, *shape, dtype=torch.float64)
    torch.testing.assert_close(D(x)[2:4], D(x[2:4]), rtol=1e-10, atol=1e-12)
    assert D(x[:1]).shape == (1,)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(D(x)[0], x)
    assert gradient[0].abs().max() > 0 and gradient[1:].abs().max() == 0


def test_signal_keeps_its_size_at_the_start():
    """He initialisation: outputs neither fade nor blow up, whatever the width."""
    for width in (16, 64):
        G, D = Generator((1, 32, 32), width=width), Critic((1, 32, 32), width=width)
        x = G(torch.randn(64, G.latent))
        assert 0.1 < x.std() < 0.95
        assert 0.05 < D(x).std() < 10 and 0.2 < D(torch.randn(64, 1, 32, 32)).std() < 10


def test_parameter_counts():
    def count(network):
        return sum(p.numel() for p in network.parameters())

    w = 64
    dense = 64 * 4 * w * 16
    stages = 9 * (4 * w * 2 * w + 2 * w * w + w * w // 2)
    norms = 2 * (4 * w + 2 * w + w + w // 2)
    assert count(Generator((1, 32, 32), latent=64, width=w)) == dense + stages + norms + 9 * w // 2 + 1
    convolutions = 16 * (w + w * 2 * w + 2 * w * 4 * w) + 7 * w
    assert count(Critic((1, 32, 32), width=w)) == convolutions + 4 * w * 16 + 1
    assert count(MLP(2, 1, width=10, depth=3)) == 30 + 110 + 110 + 11


def test_mlp_is_a_generator_too():
    G = MLP(7, 2, width=16)
    assert G.latent == 7 and G(torch.randn(3, 7)).shape == (3, 2)


@pytest.mark.parametrize("make", [Generator, Critic, lambda shape: Encoder(shape, 2)], ids=["G", "D", "encoder"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 28, 28), r"\(28, 28\) is not supported.*multiple of 8.*pad to \(32, 32\)"),
        ((1, 0), r"\(0,\) is not supported.*pad to \(8,\)"),
        ((3, 64, 65), r"\(64, 65\).*pad to \(64, 72\)"),
        ((1,), "one to three spatial sizes"),
        ((1, 8, 8, 8, 8), "one to three spatial sizes"),
        ((0, 8), r"must be \(channels"),
    ],
    ids=str,
)
def test_unsupported_shapes_say_what_to_do(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make(shape)


@pytest.mark.parametrize("network", [Critic((1, 32, 32), 8), Encoder((1, 32, 32), 2, 8)], ids=["D", "encoder"])
def test_image_of_another_shape_is_refused(network):
    with pytest.raises(ValueError, match=r"\(1, 40, 32\) for a network made for \(1, 32, 32\)"):
        network(torch.zeros(2, 1, 40, 32))
