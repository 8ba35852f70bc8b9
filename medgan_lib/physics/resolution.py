"""Spatial resolution in MR: which part of k-space was measured.

A scanner samples k-space from its centre outwards, and pixels of twice the length are what half the extent along an
axis gives. So a low-resolution image is not an average of pixels but a truncated Fourier series, with the ringing at
edges (Gibbs) that this brings. `truncate` and `zero_fill` keep the same frequencies, all strictly below half a cycle
per coarse pixel; together they are an orthogonal projection, so that the error of an image splits exactly into one
in measured and one in unmeasured frequencies.

Magnitude images stand for the complex ones of a scanner here, and no noise is added: what is lost is detail alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def truncate(x: Tensor, factor: int) -> Tensor:
    """Images (n, channels, *size) from the measured frequencies alone: (n, channels, *size / factor).

    The field of view and the mean stay; pixel centres lie where averaging ``factor`` pixels would put them. Values at
    edges overshoot those of x. ValueError where a size is no multiple of ``factor``.
    """
    if factor < 1 or any(size % factor for size in x.shape[2:]):
        raise ValueError(f"{tuple(x.shape[2:])} pixels are no multiples of {factor}: crop or pad them first")
    return resample(x, [size // factor for size in x.shape[2:]])


def zero_fill(y: Tensor, factor: int) -> Tensor:
    """The image (n, channels, *factor size) with the frequencies of y and no others: sinc interpolation."""
    return resample(y, [size * factor for size in y.shape[2:]])


def measured(x: Tensor, factor: int) -> Tensor:
    """The part of x in the frequencies that survive `truncate`, on the grid of x; the rest is x - measured(x)."""
    return zero_fill(truncate(x, factor), factor)


def resample(x: Tensor, size: list[int]) -> Tensor:
    """x (n, channels, *any) on another grid of the same field of view, with the frequencies that both grids hold.

    Half a cycle per pixel of the coarser grid is left out: there a sine and a cosine can't be told apart.
    """
    for axis, after in enumerate(size, start=2):
        before = x.shape[axis]
        frequency = torch.arange((min(before, after) + 1) // 2, device=x.device)
        # pixel m of n lies at (m + 1/2) / n: without this phase the image would move by a fraction of a pixel
        phase = torch.exp(1j * math.pi * frequency.to(x.dtype) * (1 / after - 1 / before))
        series = torch.fft.rfft(x, dim=axis).narrow(axis, 0, len(frequency)).movedim(axis, -1) * phase
        x = torch.fft.irfft(series.movedim(-1, axis), n=after, dim=axis) * (after / before)
    return x
