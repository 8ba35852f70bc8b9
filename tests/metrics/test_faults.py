"""Planted faults: nothing at strength 0, more with strength, and each what its name says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medgan_lib import cohorts, metrics
from medgan_lib.metrics import faults


def images(n: int = 6, *size: int, channels: int = 1, seed: int = 0) -> Tensor:
    """Smooth random images with some fine structure, well inside of the window."""
    size = size or (32, 32)
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, channels, *size, generator=draw, dtype=torch.float64).numpy()
    smooth = [ndimage.gaussian_filter(part, 3) for part in noise.reshape(-1, *size)]
    smooth = torch.from_numpy(np.stack(smooth)).reshape(noise.shape)
    return (0.25 * smooth / smooth.std() + 0.05 * torch.from_numpy(noise)).clamp(-0.95, 0.95).float()


def spoilt(x: Tensor, fault: str, strength: float | Tensor, seed: int = 0) -> Tensor:
    return metrics.spoil(x, fault, strength, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fault", metrics.FAULTS)
@pytest.mark.parametrize("shape", [(6, 1, 32, 32), (4, 3, 16, 24), (2, 2, 16, 16, 20)])
def test_nothing_at_strength_0_and_more_with_strength(fault: str, shape: tuple[int, ...]) -> None:
    x = images(shape[0], *shape[2:], channels=shape[1])
    torch.testing.assert_close(spoilt(x, fault, 0.0), x, atol=2e-5, rtol=0)
    change = [(spoilt(x, fault, s) - x).abs().mean().item() for s in (0.25, 0.5, 1.0)]
    assert 0.002 < change[0] < change[1] < change[2]
    assert spoilt(3 * x, fault, 1.0).abs().max() <= 1 and spoilt(x, fault, 1.0).dtype == x.dtype


@pytest.mark.parametrize("fault", metrics.FAULTS)
def test_every_image_has_its_own_strength_and_draws_are_reproducible(fault: str) -> None:
    x = images(3)
    mixed = spoilt(x, fault, torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(mixed[::2], x[::2], atol=2e-5, rtol=0)
    torch.testing.assert_close(mixed[1], spoilt(x, fault, 1.0)[1])
    assert torch.equal(spoilt(x, fault, 0.5), spoilt(x, fault, 0.5))
    if fault in ("noise", "mesh", "warp"):
        assert not torch.equal(spoilt(x, fault, 0.5), spoilt(x, fault, 0.5, seed=1))
        torch.manual_seed(0)
        once = metrics.spoil(x, fault, 0.5)
        torch.manual_seed(0)
        assert torch.equal(once, metrics.spoil(x, fault, 0.5))  # without a generator, the default one


def test_blur_is_a_gaussian() -> None:
    x = images()
    ours = spoilt(x, "blur", 0.5)
    theirs = [ndimage.gaussian_filter(image, 0.5 * faults.BLUR, mode="mirror", truncate=6) for image in x[:, 0].numpy()]
    torch.testing.assert_close(ours[:, 0], torch.from_numpy(np.stack(theirs)), atol=1e-3, rtol=0)


def test_noise_is_white_and_of_the_strength_that_is_asked_for() -> None:
    noise = spoilt(torch.zeros(40, 1, 32, 32), "noise", 0.5)
    assert noise.std().item() == pytest.approx(0.5 * faults.NOISE, rel=0.01)
    power = metrics.spectrum(noise).power[3:]
    assert power.std() / power.mean() < 0.1


def test_contrast_is_taken_away_around_the_mean() -> None:
    x = images(channels=2)
    less = spoilt(x, "contrast", 0.5)
    torch.testing.assert_close(less.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(less.flatten(1).std(1), (1 - 0.5 * faults.CONTRAST) * x.flatten(1).std(1))


def test_a_mesh_is_a_regular_pattern_of_period_2_or_4() -> None:
    pattern = spoilt(torch.zeros(40, 1, 32, 32), "mesh", 1.0)
    power = torch.fft.fft2(pattern[:, 0]).abs().square().mean(0)
    assert sorted(map(tuple, (power > 1e-3 * power.max()).nonzero().tolist())) == [
        (8, 8), (8, 24), (16, 16), (24, 8), (24, 24)
    ]  # fmt: skip
    assert pattern.amax((1, 2, 3)).min() == pytest.approx(faults.MESH, abs=1e-5)
    torch.testing.assert_close(pattern.roll((4, 4), (2, 3)), pattern, atol=1e-5, rtol=0)


def test_a_warp_moves_things_and_does_not_blur_them() -> None:
    x = images(40)
    moved = spoilt(x, "warp", 0.5)
    assert (moved - x).abs().mean() > 0.1 * x.abs().mean()
    assert moved.std().item() == pytest.approx(x.std().item(), rel=0.05)
    fine = [metrics.spectrum(part).power[8:14].mean() for part in (moved, x)]
    assert 0.8 < fine[0] / fine[1] < 1.25  # linear interpolation would halve it
    ramp = torch.linspace(-0.5, 0.5, 32).expand(200, 1, 32, 32)
    away = (spoilt(ramp, "warp", 0.5) - ramp)[..., 8:24, 8:24] * 31
    assert away.std().item() == pytest.approx(0.5 * faults.WARP * 32, rel=0.2)  # in pixels


def test_texture_keeps_its_power_and_leaves_its_place() -> None:
    x = images(40)
    for strength in (0.5, 1.0):
        swapped = spoilt(x, "texture", strength)
        fine = [metrics.spectrum(part).power[10:].mean() for part in (swapped, x)]
        assert fine[0] / fine[1] == pytest.approx(1, abs=0.15)
    smooth = spoilt(x, "blur", faults.FINE / faults.BLUR)
    high = [part - smooth for part in (swapped, x)]
    assert torch.stack([h.flatten() for h in high]).corrcoef()[0, 1].abs() < 0.1
    assert torch.stack([swapped.flatten(), x.flatten()]).corrcoef()[0, 1] > 0.9


def test_real_patches_stay_recognisable_and_are_spoilt_in_the_end() -> None:
    """In dB: about 30 where we just see it, above 20 where it is plain, and hardly that at the end."""
    x = cohorts.load("nodules", "test", size=32, n=40).x
    for fault in metrics.FAULTS:
        just, plain, much = (metrics.psnr(spoilt(x, fault, s), x) for s in (0.25, 0.5, 1.0))
        assert 36 > just > 24 and just > plain > 20 and plain > much and 15 < much < 24, fault


@pytest.mark.parametrize(
    ("x", "fault", "message"),
    [
        (torch.zeros(2, 1, 32, 32), "ring", "unknown fault 'ring', it must be one of blur, noise"),
        (torch.zeros(2, 1, 12, 32), "blur", "16 pixels an edge"),
        (torch.zeros(2, 32, 32), "blur", "16 pixels an edge"),
    ],
)
def test_what_cannot_be_spoilt_says_so(x: Tensor, fault: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.spoil(x, fault, 0.5)
    assert math.isfinite(metrics.spoil(torch.zeros(2, 1, 16, 16), "warp", 1.0).sum().item())
