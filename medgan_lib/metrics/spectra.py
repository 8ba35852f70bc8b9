"""Radially averaged power spectra of images, and regular patterns in them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

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


def patterns(x: Tensor, reference: Tensor, lowest: float = 0.25, factor: float = 4.0) -> float:
    """Root mean square of regular patterns in images, in their units: meshes and stripes that the reference has not.

    A pattern has its power at a few frequencies, so it stands out among all waves as fine as itself. For each
    frequency of at least ``lowest`` cycles a pixel the power of ``x`` is divided by that of the reference; what exceeds
    ``factor`` times the median of this ratio on its ring (frequencies of one length) is a pattern, and counts with all
    that it has beyond the median. Blur, noise, another texture or a warp are as strong in all directions, and none.

    Args:
        x, reference: images (n, channels, h, w) and (m, channels, h, w), of one size, best some hundred. Powers are
            means over all and over 3 x 3 neighbouring frequencies.
        lowest: cycles a pixel, in (0, 0.5].
        factor: above 1, of the ratio.

    Raises:
        ValueError: other shapes, no samples, or values that are not finite.
    """
    x, reference = in_double(x, "images"), in_double(reference, "references")
    if x.ndim != 4 or x.shape[1:] != reference.shape[1:] or not len(x) or not len(reference):
        shapes = f"{tuple(x.shape)} and {tuple(reference.shape)}"
        raise ValueError(f"patterns are of images (n, channels, h, w) of one size, not {shapes}")
    images = (x, reference.to(x.device))
    powers = [torch.fft.fft2(part, norm="ortho").abs().square().mean((0, 1)) for part in images]
    ours, theirs = (F.avg_pool2d(F.pad(p[None, None], (1, 1, 1, 1), mode="circular"), 3, 1)[0, 0] for p in powers)
    axes = [torch.fft.fftfreq(size, dtype=torch.float64, device=x.device) for size in ours.shape]
    ring = (torch.hypot(axes[0][:, None], axes[1]) * max(ours.shape)).round().long()
    ring = ring.clamp_max(max(ours.shape) // 2)  # the corners are one ring
    ratio, excess = ours / theirs.clamp_min(1e-30), 0.0
    for k in range(round(lowest * max(ours.shape)), int(ring.max()) + 1):
        times = ratio[ring == k] / ratio[ring == k].median().clamp_min(1e-30)
        out = times > factor
        excess += float((ours[ring == k][out] * (1 - 1 / times[out])).sum())
    return math.sqrt(excess / ours.numel())
