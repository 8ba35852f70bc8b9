"""Errors against a reference: oracles of other libraries, ramps, and spectra written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import fft
from skimage import metrics as skimage_metrics
from torch.nn import functional as F

from medgan_lib import metrics
from medgan_lib.cohorts import Window

WINDOW = Window(-1000.0, 2000.0)


def blobs(n: int, seed: int) -> torch.Tensor:
    """Bright discs in two sizes on dark (n, 1, 16, 16), with a little noise."""
    draw = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    centre = 4 + 8 * torch.rand(n, 2, 1, 1, generator=draw)
    radius = 2 + 2 * torch.rand(n, 1, 1, generator=draw)
    disc = torch.tanh(radius - (grid - centre).square().sum(1).sqrt())[:, None]
    return (0.3 + 0.6 * disc + 0.03 * torch.randn(disc.shape, generator=draw)).clamp(-1, 1)


def test_mae_is_in_units_and_weighs_images_alike():
    x, reference = torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)
    x[0, 0, 0, 0], x[1, 0, :2], x[2] = 1.0, -0.5, 0.25
    assert metrics.mae(x, reference, WINDOW) == pytest.approx(1500 * (1 / 16 + 0.25 + 0.25) / 3)
    mask = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0, :2], mask[1, 0, 1:3] = True, True
    assert metrics.mae(x, reference, WINDOW, mask) == pytest.approx(1500 * (0.5 + 0.25) / 2)
    colour = torch.tensor([0.1, -0.3]).view(1, 2, 1, 1).expand(3, 2, 4, 4)
    assert metrics.mae(colour, torch.zeros_like(colour), WINDOW, mask) == pytest.approx(1500 * 0.2)
    for wrong in (mask[:2], torch.zeros_like(mask)):
        with pytest.raises(ValueError, match=r"mask must be bool .* and hold something"):
            metrics.mae(x, reference, WINDOW, wrong)


def written_out(x, y):
    """Structural similarity by convolution with the whole window of 11 pixels an edge, where it lies inside."""
    dims = x.ndim - 2
    line = torch.exp(-torch.arange(-5.0, 6, dtype=torch.float64).square() / (2 * 1.5**2))
    window = line / line.sum()
    for _ in range(dims - 1):
        window = window[..., None] * (line / line.sum())
    convolve = {2: F.conv2d, 3: F.conv3d}[dims]

    def local(image):
        return convolve(image.flatten(0, 1)[:, None], window[None, None])

    x, y = x.double(), y.double()
    a, b = local(x), local(y)
    variance = local(x * x) - a * a, local(y * y) - b * b
    shared = local(x * y) - a * b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    places = (2 * a * b + c1) * (2 * shared + c2) / ((a * a + b * b + c1) * (sum(variance) + c2))
    return places.mean().item()


def test_psnr_is_that_of_scikit_image_and_ssim_its_formula_with_a_full_window():
    reference = blobs(4, 0)
    scale = torch.tensor([0.02, 0.05, 0.1, 0.3]).view(4, 1, 1, 1)
    x = (reference + scale * torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    psnr = [
        skimage_metrics.peak_signal_noise_ratio(b, a, data_range=2)
        for a, b in zip(x[:, 0].double().numpy(), reference[:, 0].double().numpy(), strict=True)
    ]
    assert metrics.psnr(x, reference) == pytest.approx(np.mean(psnr), rel=1e-12)
    assert metrics.ssim(reference, reference) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"images of \(16, 10\) pixels are smaller than the window of 11"):
        metrics.ssim(x[..., :10], reference[..., :10])
    colour = (part.repeat(1, 2, 1, 1) * torch.tensor([1.0, 0.5]).view(1, 2, 1, 1) for part in (x, reference))
    volume = (part.reshape(1, 1, 4, 16, 16).repeat(1, 1, 4, 1, 1) for part in (x, reference))
    for ours, theirs in ((x, reference), colour, volume):
        assert metrics.ssim(ours, theirs) == pytest.approx(written_out(ours, theirs), rel=1e-9)


def test_psnr_is_clipped_to_the_window_and_infinite_without_an_error():
    reference = blobs(2, 0).double()
    x = reference.clone()
    x[:, 0, 0, 0] = 5.0
    assert metrics.psnr(x, reference) == metrics.psnr(x.clamp(-1, 1), reference)
    error = (1 - reference[:, 0, 0, 0]).square() / 256
    assert metrics.psnr(x, reference) == pytest.approx((10 * (4 / error).log10()).mean().item(), rel=1e-12)
    assert metrics.psnr(reference, reference) == float("inf")


def test_sharpness_is_the_mean_slope():
    ramp = torch.arange(6.0).mul(0.1).expand(2, 1, 5, 6)
    assert metrics.sharpness(ramp) == pytest.approx(0.1 * 5 / 6)  # no step after the last pixel
    both = ramp.clone()
    both[1] = torch.arange(5.0).mul(0.2)[:, None] + torch.arange(6.0) * 0.1
    inner = torch.zeros(2, 1, 5, 6, dtype=torch.bool)
    inner[1, 0, 1, 1] = True
    assert metrics.sharpness(both, inner) == pytest.approx(0.05**0.5)
    volume = torch.arange(4.0).mul(0.1).view(1, 1, 4, 1, 1).expand(1, 1, 4, 4, 4)
    assert metrics.sharpness(volume) == pytest.approx(0.1 * 3 / 4)


def test_high_frequency_error_is_a_ratio_of_power():
    reference = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).clamp(-3, 3) / 3
    assert metrics.high_frequency_error(reference / 2, reference) == pytest.approx(-20 * np.log10(2))
    x = torch.nn.functional.avg_pool2d(reference, 3, 1, 1)

    def power(part):
        spectrum = np.abs(fft.fft2(part[:, 0].double().numpy(), norm="ortho")) ** 2
        radius = np.hypot(*np.meshgrid(fft.fftfreq(16), fft.fftfreq(16)))
        return spectrum.mean(0)[np.rint(radius * 16) >= 4].sum()

    expected = 10 * np.log10(power(x) / power(reference))
    assert expected < -3
    assert metrics.high_frequency_error(x, reference) == pytest.approx(expected, rel=1e-9)
    low = torch.sin(2 * torch.pi * torch.arange(16) / 16).expand(3, 1, 16, 16)
    assert metrics.high_frequency_error(reference + low, reference) == pytest.approx(0, abs=1e-6)


def test_retrieval_counts_who_finds_their_own():
    reference = blobs(10, 0)
    assert metrics.retrieval(reference + 0.01, reference) == 1
    swapped = reference[[1, 0, *range(2, 10)]]
    assert metrics.retrieval(swapped, reference) == pytest.approx(0.8)
    assert metrics.retrieval(torch.zeros_like(reference), reference) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "figure",
    [
        lambda x, reference: metrics.mae(x, reference, WINDOW),
        metrics.psnr,
        metrics.ssim,
        metrics.high_frequency_error,
        metrics.retrieval,
    ],
)
def test_other_shapes_than_the_references_are_refused(figure):
    with pytest.raises(ValueError, match=r"images \(2, 1, 16, 16\) and references \(3, 1, 16, 16\)"):
        figure(blobs(2, 0), blobs(3, 0))


def test_line_up_is_the_mean_over_all_line_ups() -> None:
    """Against every line-up of 3 among 6, counted one by one."""
    draw = torch.Generator().manual_seed(0)
    reference = torch.rand(6, 1, 2, 2, generator=draw)
    x = reference + 0.3 * torch.randn(6, 1, 2, 2, generator=draw)
    distance = (x[:, None] - reference[None]).abs().flatten(2).sum(2)
    found = [
        all(distance[i, i] <= distance[i, k] for k in others)
        for i in range(6)
        for others in itertools.combinations([k for k in range(6) if k != i], 2)
    ]
    assert 0.4 < sum(found) / len(found) < 1
    assert metrics.line_up(x, reference, 3) == pytest.approx(sum(found) / len(found))


def test_line_up_knows_the_own_and_the_chance() -> None:
    draw = torch.Generator().manual_seed(0)
    reference, other = (torch.rand(400, 1, 3, 3, generator=draw) for _ in range(2))
    assert metrics.line_up(reference, reference) == 1
    assert metrics.line_up(other, reference) == pytest.approx(0.05, abs=0.02)
    for people in (1, 401):
        with pytest.raises(ValueError, match="line-up"):
            metrics.line_up(other, reference, people)
