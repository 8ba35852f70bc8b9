"""The Laplacian pyramid of GANs."""

from __future__ import annotations

import copy

import pytest
import torch
from architecture_parts import same
from torch.nn import functional as F

from medgan_lib.methods import GAN, LAPGAN, Band
from medgan_lib.methods.lapgan import collapse, down, pyramid, up
from medgan_lib.networks import (
    BandCritic,
    BandGenerator,
    DenseCritic,
    DenseGenerator,
)


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
