"""Projection radiography: how far rays run through simple shapes, attenuation, scatter and quantum noise.

Rays are parallel and perpendicular to the image. Images are (n, h, w); lengths in mm, attenuation in 1/mm; a place is
(down, right) in mm from the middle of the image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Linear attenuation in 1/mm at 65 keV, about the effective energy of a chest radiograph at 120 kV (NIST XCOM: water
# 0.020, compact bone 0.056). Bone here is a little less, for the marrow it holds; an inflated lung is a quarter tissue.
ATTENUATION = {"soft": 0.020, "fat": 0.018, "bone": 0.046, "lung": 0.0050, "air": 0.0}


MARGIN = 15.0  # mm: what is splatted further outside the image is lost


def grid(size: int, field: float) -> tuple[Tensor, Tensor]:
    """(down, right) of the pixel centres along the two edges of a square image, each (size,)."""
    line = (torch.arange(size, dtype=torch.float32) + 0.5) * (field / size) - field / 2
    return line, line


def ellipsoid(down: Tensor, right: Tensor, centre: Tensor, axes: Tensor, depth: Tensor) -> Tensor:
    """mm (n, h, w) through ellipsoids at ``centre`` (n, 2), half-axes ``axes`` (n, 2) and, along rays, ``depth``."""
    y = (down[None, :] - centre[:, :1]) / axes[:, :1]
    x = (right[None, :] - centre[:, 1:]) / axes[:, 1:]
    return 2 * depth[:, None, None] * (1 - y[:, :, None] ** 2 - x[:, None] ** 2).clamp(min=0).sqrt()


def splat(size: int, field: float, points: Tensor, volume: Tensor, width: float) -> Tensor:
    """mm (n, size, size) through matter: ``volume`` (n, k) mm³ at ``points`` (n, k, 2), each a Gaussian, ``width`` mm.

    The points of a tube, each with the volume of its piece, give its projection whichever way it runs: the volume is
    kept, so a piece along the ray is dense and short, one across it faint and long. Every point is divided among the
    four nearest nodes of a grid finer than ``width``, which keeps its place, and the grid is blurred: a Gaussian is a
    product of one down and one right, so that this is two matrix products however many points there are.
    """
    n, pixel = len(points), field / size
    node = pixel / math.ceil(pixel / (0.7 * width))
    edge = math.ceil(MARGIN / node)
    count = round(field / node) + 2 * edge
    at = (points + field / 2) / node + edge - 0.5
    low = at.floor()
    share, low = at - low, low.long()
    kept = ((low >= 0) & (low < count - 1)).all(-1)
    volume, low = volume * kept, low * kept[..., None]
    nodes = torch.zeros(n, count * count, dtype=points.dtype)
    first = low[..., 0] * count + low[..., 1]
    for down in (0, 1):
        rows = volume * (share[..., 0] if down else 1 - share[..., 0])
        for right in (0, 1):
            part = rows * (share[..., 1] if right else 1 - share[..., 1])
            nodes.scatter_add_(1, first + (down * count + right), part)
    where = (torch.arange(count, dtype=points.dtype) - edge + 0.5) * node - field / 2
    rest = width**2 - node**2 / 6  # dividing a point has spread it by the other part, on average
    blur = torch.exp(-((grid(size, field)[0][:, None] - where) ** 2) / (2 * rest)) / math.sqrt(2 * math.pi * rest)
    return blur @ nodes.reshape(n, count, count) @ blur.mT


def expose(integrals: Tensor, photons: Tensor, scatter: Tensor, white: Tensor) -> Tensor:
    """What the detector reports, −ln(counts / photons), for the line integrals (n, h, w) of attenuation.

    ``photons`` (n,) reach a pixel without a patient. ``scatter`` (n,) is that share of the mean primary intensity,
    added to every pixel. Counts are Poisson: ``white``, standard normal numbers of the same shape, become counts by
    the first terms of the Cornish-Fisher expansion, λ + z√λ + (z² − 1)/6, so the same z give two images the same
    noise.
    """
    primary = torch.exp(-integrals)
    mean = photons[:, None, None] * (primary + scatter[:, None, None] * primary.mean((1, 2), keepdim=True))
    counts = (mean + white * mean.sqrt() + (white**2 - 1) / 6).round().clamp(min=1)
    return -torch.log(counts / photons[:, None, None])
