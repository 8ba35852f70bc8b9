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
