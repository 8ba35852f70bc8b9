"""What all metrics ask of their input, and what they share: float64 matrices, neighbours row by row, draws."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def in_double(x: Tensor, name: str) -> Tensor:
    x = torch.as_tensor(x).detach()
    x = (x.cpu() if x.device.type == "mps" else x).double()  # that device has no float64
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} have values that are not finite (NaN or infinity)")
    return x


def flattened(x: Tensor) -> Tensor:
    x = torch.as_tensor(x)
    if x.ndim < 2:
        raise ValueError(f"expected samples (n, ...), not shape {tuple(x.shape)}")
    return x.flatten(1)


def matrices(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Two matrices (n, d) and (m, d) in float64 on the first one's device."""
    a, b = in_double(a, "the first samples"), in_double(b, "the second samples")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"expected two matrices (samples, features) of equal width, not {shapes}")
    if min(len(a), len(b)) < least:
        raise ValueError(f"too few samples: {len(a)} and {len(b)}; at least {least} of each are needed")
    return a, b.to(a.device)


def distances_by_row(a: Tensor, b: Tensor, rows: int = 1024) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances (rows, m) of successive rows of ``a``, so that memory stays bounded."""
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        yield part, torch.cdist(a[part], b)


def permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def choose(x: Tensor, count: int, seed: int = 0) -> Tensor:
    """``count`` samples of ``x``, at random, always the same."""
    return x[permutation(len(x), seed)[:count].to(x.device)]
