"""Light through stained tissue: what a stain takes away of it, and how much of each stain a colour stands for.

Images are (n, 3, *size), red, green and blue, as transmittance: the share of the lamp's light that arrives, from 0 to
1. Every stain absorbs by the law of Beer and Lambert, so optical densities add where transmittances multiply. Unit
vectors of optical density in red, green and blue, from Ruifrok and Johnston, Anal Quant Cytol Histol 23:291 (2001).
"""

from __future__ import annotations

import torch
from torch import Tensor

HAEMATOXYLIN = (0.650, 0.704, 0.286)  # blue, in nuclei
EOSIN = (0.072, 0.990, 0.105)  # pink, in cytoplasm and fibres
DARKEST = 1 / 255  # of 8 bits; what is darker has no optical density that could be measured


def optical_density(transmittance: Tensor) -> Tensor:
    """-log10 of the transmittance, which is taken as `DARKEST` below that."""
    return -transmittance.clamp_min(DARKEST).log10()


def transmitted(density: Tensor) -> Tensor:
    """The inverse of `optical_density`: 10^-density."""
    return 10**-density


def stained(amounts: Tensor, vectors: Tensor) -> Tensor:
    """Transmittance (n, 3, *size) of tissue with ``amounts`` (n, stains, *size) of stains.

    ``vectors`` (stains, 3), or (n, stains, 3) where every image has its own: optical density in red, green and blue of
    one unit of each stain. ValueError where the shapes don't fit.
    """
    if vectors.shape[-2:] != (amounts.shape[1], 3) or (vectors.ndim == 3 and len(vectors) != len(amounts)):
        raise ValueError(f"{tuple(vectors.shape)} vectors for {tuple(amounts.shape)} amounts: one (3,) for each stain")
    density = vectors.transpose(-1, -2) @ amounts.flatten(2)
    return transmitted(density.unflatten(2, amounts.shape[2:]))


def amounts(transmittance: Tensor, vectors: Tensor) -> Tensor:
    """The inverse of `stained`, (n, stains, *size), by least squares: amounts below 0 are possible where there is
    noise.

    Exact for transmittances that such stains can give and that are above `DARKEST`.
    """
    density = optical_density(transmittance).flatten(2)
    return (torch.linalg.pinv(vectors.transpose(-1, -2)) @ density).unflatten(2, transmittance.shape[2:])


def vectors(dtype: torch.dtype = torch.float32) -> Tensor:
    """Haematoxylin and eosin, (2, 3), each of length 1."""
    pair = torch.tensor([HAEMATOXYLIN, EOSIN], dtype=dtype)
    return pair / pair.norm(dim=1, keepdim=True)
