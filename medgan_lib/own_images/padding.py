"""Sizes: where an image lies in a padded one, how it gets there, and how it comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from medgan_lib.own_images.sides import MULTIPLE


def centred(size: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """Where an image of ``size`` lies in the middle of a larger ``shape``."""
    start = [(new - old) // 2 for old, new in zip(size, shape, strict=True)]
    return tuple(slice(first, first + old) for first, old in zip(start, size, strict=True))


def pad(x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, tuple]:
    """x (n, channels, *size) with a border of its minimum to multiples of 8, at least ``shape``, and what crops it."""
    full = [max(math.ceil(size / MULTIPLE) * MULTIPLE, least) for size, least in zip(x.shape[2:], shape, strict=True)]
    crop = (..., *centred(x.shape[2:], full))
    padded = x.new_full((*x.shape[:2], *full), x.min().item())
    padded[crop] = x
    return padded, crop


def unpad(image: Tensor, crop: Tensor) -> Tensor:
    """An item (channels, *shape) without its padding; ``crop`` is its row of the tensor of that name."""
    edges = crop.tolist()
    return image[(slice(None), *(slice(*edges[i : i + 2]) for i in range(0, len(edges), 2)))]


def fitted(edges: Sequence[int], spacing: Sequence[float] | None, size: int) -> list[int]:
    """Pixels along the edges of an image whose longer side, in mm where they are known, gets ``size`` pixels."""
    extent = [edge * mm for edge, mm in zip(edges, spacing or (1.0, 1.0), strict=True)]
    return [max(1, round(size * length / max(extent))) for length in extent]


def slices(x: Tensor) -> Tensor:
    """(channels, *size) -> axial slices (n, channels, h, w)."""
    return x[None] if x.ndim == 3 else x.transpose(0, 1)
