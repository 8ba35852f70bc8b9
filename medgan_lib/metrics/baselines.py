"""Translations that nobody has to train: what a network must beat before its error means anything.

Images are (n, channels, *size) in [-1, 1], paired by index.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Affine(NamedTuple):
    """One slope and one offset for every voxel: ``affine(y)`` is slope * y + offset, clipped to [-1, 1]."""

    slope: float
    offset: float

    def __call__(self, y: Tensor) -> Tensor:
        return (self.slope * y + self.offset).clamp(-1, 1)


def affine_map(y: Tensor, x: Tensor) -> Affine:
    """The input itself in the target's units: the map of least squared error, fitted to training pairs (y, x).

    A negative slope is a negative of the picture. For a constant ``y`` it is the mean of ``x``. ValueError for
    different shapes or no voxel.
    """
    if y.shape != x.shape or not y.numel():
        raise ValueError(f"inputs {tuple(y.shape)} and references {tuple(x.shape)} must be pairs of the same shape")
    y, x = y.double(), x.double()
    centred = y - y.mean()
    slope = float((centred * x).sum() / centred.square().sum().clamp_min(torch.finfo(y.dtype).tiny))
    return Affine(slope, float(x.mean()) - slope * float(y.mean()))


def mean_image(x: Tensor, like: Tensor) -> Tensor:
    """The mean of the training references ``x`` in answer to every image of ``like``, which is not looked at.

    ValueError where their images differ in shape, or without any reference.
    """
    if not len(x) or x.shape[1:] != like.shape[1:]:
        raise ValueError(f"{len(x)} references of shape {tuple(x.shape[1:])} for images of {tuple(like.shape[1:])}")
    return x.mean(0, keepdim=True).expand(len(like), *x.shape[1:])
