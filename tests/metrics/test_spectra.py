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


def heads(n=40):
    """Smooth bright patches on black: a pattern on them has wide peaks, and they have none of their own."""
    place = torch.linspace(-1, 1, 48, dtype=torch.float64)
    bright = ((place[:, None] ** 2 + place**2) < 0.6).double()
    smooth = torch.nn.functional.interpolate(normal(n, 1, 6, 6), size=(48, 48), mode="bicubic")
    return bright * (0.5 + 0.2 * smooth)


@pytest.mark.parametrize(("period", "amplitude"), [(2, 0.02), (4, 0.02), (4, 0.1)])
def test_a_planted_mesh_is_found_with_its_amplitude(period, amplitude):
    wave = torch.cos(2 * math.pi / period * torch.arange(48, dtype=torch.float64))
    pattern = amplitude * wave[:, None] * wave
    everywhere = metrics.mesh(normal(200, 1, 48, 48) * 0.05 + pattern, 4)
    assert everywhere == pytest.approx(pattern.square().mean().sqrt().item(), rel=0.1)
    x = heads()
    clean, found = metrics.mesh(x, 4), metrics.mesh(x + (x > 0.01) * pattern, 4)
    inside = ((x > 0.01) * pattern).square().mean().sqrt().item()
    assert clean < 0.5 * inside and math.sqrt(found**2 - clean**2) == pytest.approx(inside, rel=0.25)


def test_noise_stripes_of_another_period_and_nothing_are_no_mesh():
    stripes = torch.cos(2 * math.pi / 6 * torch.arange(48, dtype=torch.float64))
    assert metrics.mesh(0.5 * stripes.expand(2, 1, 48, 48)) < 1e-3
    assert metrics.mesh(0.1 * normal(400, 1, 48, 48)) < 0.01
    assert metrics.mesh(torch.ones(1, 1, 48, 48)) == 0


@pytest.mark.parametrize("shape", [(2, 48, 48), (0, 1, 48, 48), (2, 1, 46, 48), (2, 1, 36, 48)])
def test_mesh_refuses_what_holds_no_whole_periods(shape):
    with pytest.raises(ValueError, match="multiples of 4 and at least 40"):
        metrics.mesh(torch.zeros(*shape))
