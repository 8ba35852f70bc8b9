"""Radially averaged power spectra of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from medgan_lib.metrics.samples import in_double


class Spectrum(NamedTuple):
    """Radial frequency in cycles per pixel, mean power at it, number of Fourier coefficients; each (bins,)."""

    frequency: Tensor
    power: Tensor
    count: Tensor


def spectrum(x: Tensor) -> Spectrum:
    """Radially averaged power spectrum of images, mean over samples and channels.

    With the orthonormal Fourier transform, so that Σ power · count is the mean over samples and channels of
    the sum of squared pixels (Parseval). Shows checkerboards (a peak at half a cycle per pixel) and missing
    detail.

    Args:
        x: (n, channels, *spatial), one to three spatial dimensions.

    Returns:
        Bins of width 1 / (largest size) from frequency 0 to the corner of the spectrum.

    Raises:
        ValueError: not 3 to 5 dimensions, no samples, or values that are not finite.
    """
    x = torch.as_tensor(x)
    if not 3 <= x.ndim <= 5 or x.numel() == 0:
        raise ValueError(f"spectrum expects images (n, channels, *spatial), not shape {tuple(x.shape)}")
    spatial = x.shape[2:]
    x = in_double(x, "images")
    power = torch.fft.fftn(x, dim=tuple(range(2, x.ndim)), norm="ortho").abs().square().mean((0, 1)).flatten()
    axes = torch.meshgrid(*(torch.fft.fftfreq(size, dtype=torch.float64) for size in spatial), indexing="ij")
    radius = torch.stack(axes).square().sum(0).sqrt().flatten().to(x.device)
    ring = (radius * max(spatial)).round().long()
    count = torch.bincount(ring)
    filled = count > 0
    mean = torch.bincount(ring, weights=power)[filled] / count[filled]
    frequency = torch.arange(len(count), dtype=torch.float64)[filled.cpu()] / max(spatial)
    return Spectrum(frequency, mean.cpu(), count[filled].cpu())
