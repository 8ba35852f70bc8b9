"""How good a translated image is: against its reference, or as one of a set of target images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medgan_lib import files, metrics
from medgan_lib.cohorts import Window
from medgan_lib.own_images.padding import slices

SMALLEST = 11  # pixels along an edge, the window of SSIM


@dataclass(frozen=True)
class Item:
    """One image and what became of it, in [-1, 1] as (channels, *size): input y, output x, and where there are any the
    ``reference`` and the input ``restored`` from the output."""

    name: str
    split: str
    image: files.Image
    y: Tensor
    x: Tensor
    reference: Tensor | None = None
    restored: Tensor | None = None


def like(y: Tensor, x: Tensor) -> Tensor:
    """The input as an output: grey for as many channels as x has, or the mean of colours."""
    return y if len(y) == len(x) else y.mean(0, keepdim=True).expand(len(x), *y.shape[1:])


def fidelity_scores(x: Tensor, reference: Tensor, window: Window, cut: float) -> dict[str, float | None]:
    mask = (reference.mean(0, keepdim=True) > cut)[None]
    a, b = x[None], reference[None]
    return {
        "mae": metrics.mae(a, b, window),
        "mae_foreground": metrics.mae(a, b, window, mask) if mask.any() else None,
        "psnr": finite(metrics.psnr(a, b)),
        "ssim": metrics.ssim(slices(x), slices(reference)) if min(x.shape[-2:]) >= SMALLEST else None,
    }


def finite(value: float) -> float | None:
    """None for the infinite PSNR of equal images, which JSON can't hold."""
    return value if math.isfinite(value) else None


def features(x: Tensor) -> Tensor:
    """What the two-sample test sees of the slices of an image: deciles of the values, and log power in 8 bands.

    (channels, *size) -> (n, 17), whatever the size.
    """
    found = []
    for one in slices(x).mean(1, keepdim=True):
        deciles = percentiles(one)[9::10]
        spectrum = metrics.spectrum(one[None])
        band = (spectrum.frequency * 16).long().clamp(max=7)
        power = torch.zeros(8, dtype=torch.float64).index_add(0, band, spectrum.power * spectrum.count)
        found.append(torch.cat([deciles, (power + 1e-6).log()]))
    return torch.stack(found)


def percentiles(x: Tensor) -> Tensor:
    """(99,) the 1st to the 99th percentile of the values of an image."""
    values = x.flatten()[:: max(x.numel() // 10**6, 1)]  # quantile takes no more than 16 million
    return values.quantile(torch.linspace(0.01, 0.99, 99)).double()


def threshold(x: Tensor) -> float:
    """The value midway between the means of what lies below and above it, in target images in [-1, 1] (isodata)."""
    from skimage.filters import threshold_isodata

    values = x.flatten()[:: max(x.numel() // 10**6, 1)].numpy()
    return float(threshold_isodata(values)) if values.min() < values.max() else float(values.min())
