"""Radially averaged power spectra of images, and regular patterns in them."""

from __future__ import annotations

import itertools
import math
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


def mesh(x: Tensor, period: int = 4, clear: int = 3) -> float:
    """Root mean square of a pattern that repeats every ``period`` pixels along both axes, in units of ``x``.

    A network that enlarges, or one that it learns from, may treat pixels by their place on a coarse grid, which leaves
    a pattern of that period. Its power is at the frequencies (i / period, j / period), where that of anatomy falls
    smoothly: what the 3 x 3 bins around each of them hold beyond the mean of a square ring around them is the
    pattern's. As a difference it may be negative where there is none, and then 0 is returned.

    Args:
        x: images (n, channels, h, w), sizes multiples of ``period`` and at least 2 (``clear`` + 2) ``period``.
        period: pixels.
        clear: bins between a peak and the ring, which is 3 bins wide: where a pattern shows only in the bright part of
            an image its peak is as wide as that part is narrow.

    Raises:
        ValueError: other shapes or sizes, no samples, or values that are not finite.
    """
    x, reach = in_double(x, "images"), clear + 2
    if x.ndim != 4 or not len(x) or any(s % period or s < 2 * reach * period for s in x.shape[2:]):
        raise ValueError(f"images must be (n, channels, h, w), multiples of {period} and at least {2 * reach * period}")
    power = torch.fft.fft2(x, norm="ortho").abs().square().mean((0, 1))
    away = (torch.arange(2 * reach + 1, device=x.device) - reach).abs()
    away = torch.maximum(away[:, None], away)
    excess = 0.0
    for i, j in itertools.product(range(period), repeat=2):
        if i or j:
            shift = [reach - k * size // period for k, size in zip((i, j), power.shape, strict=True)]
            near = power.roll(shift, (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
            excess += float((near[away <= 1] - near[away >= clear].mean()).sum())
    return math.sqrt(max(excess, 0.0) / power.numel())
