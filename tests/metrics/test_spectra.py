"""Power spectra against Parseval, waves and white noise."""

import math

import pytest
import torch

from medgan_lib import metrics


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(3, 1, 17), (2, 3, 16, 16), (2, 1, 12, 20), (2, 1, 8, 8, 10)])
def test_spectrum_keeps_the_energy(shape):
    x = normal(*shape) + 1
    result = metrics.spectrum(x)
    energy = x.square().flatten(2).sum(2).mean()
    assert (result.power * result.count).sum().item() == pytest.approx(energy.item(), rel=1e-12)
    assert result.count.sum() == math.prod(shape[2:])
    assert result.frequency[0] == 0 and (result.frequency.diff() > 0).all()


def test_spectrum_finds_a_wave_a_constant_and_noise():
    wave = torch.sin(2 * math.pi * 4 / 32 * torch.arange(32)).expand(1, 1, 32, 32)
    result = metrics.spectrum(wave)
    assert result.frequency[(result.power * result.count).argmax()] == 4 / 32
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2 - 1).float()[None, None]
    result = metrics.spectrum(board)
    assert result.frequency[result.power.argmax()].item() == pytest.approx(math.sqrt(0.5), abs=1 / 32)
    constant = metrics.spectrum(torch.ones(1, 1, 8, 8))
    assert constant.power[0] == pytest.approx(64) and constant.power[1:].max() < 1e-20
    white = metrics.spectrum(normal(400, 1, 16, 16))
    assert torch.allclose(white.power, torch.ones_like(white.power), atol=0.1)


def heads(n=60, seed=0):
    """Smooth bright patches on black with fine texture."""
    place = torch.linspace(-1, 1, 48, dtype=torch.float64)
    bright = ((place[:, None] ** 2 + place**2) < 0.6).double()
    smooth = torch.nn.functional.interpolate(normal(n, 1, 6, 6, seed=seed), size=(48, 48), mode="bicubic")
    return bright * (0.5 + 0.2 * smooth + 0.05 * normal(n, 1, 48, 48, seed=seed + 1))


@pytest.mark.parametrize("period", [2, 2.4, 3, 4])
@pytest.mark.parametrize("stripes", [True, False])
def test_planted_stripes_and_meshes_are_found_with_their_strength(period, stripes):
    wave = 0.05 * torch.cos(2 * math.pi / period * torch.arange(48, dtype=torch.float64))
    pattern = wave.expand(48, 48) if stripes else 40 * wave[:, None] * wave
    x, others = heads(), heads(seed=10)
    planted = (x > 0.01) * pattern
    assert metrics.patterns(x, others) == 0
    # the spectrum of a pattern in a head is a spot with a halo, which stays below what stands out
    assert metrics.patterns(x + planted, others) == pytest.approx(planted.square().mean().sqrt().item(), rel=0.35)


@pytest.mark.parametrize("fault", ["blur", "noise", "contrast", "warp", "texture"])
def test_other_faults_are_no_patterns(fault):
    x, others = heads().float() - 0.5, heads(seed=10).float() - 0.5
    spoilt = metrics.spoil(x, fault, 0.5, torch.Generator().manual_seed(0))
    assert metrics.patterns(spoilt, others) < 0.003
    assert metrics.patterns(metrics.spoil(x, "mesh", 0.5, torch.Generator().manual_seed(0)), others) > 0.02


def test_patterns_refuse_what_does_not_compare():
    with pytest.raises(ValueError, match="patterns are of images"):
        metrics.patterns(heads(2), heads(2)[..., :40])
    with pytest.raises(ValueError, match="patterns are of images"):
        metrics.patterns(heads(2)[:0], heads(2))
