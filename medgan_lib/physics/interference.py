"""Optical coherence tomography: layers seen through depth, speckle, decibels.

Images are (n, depth, width) of intensity, in units of the mean noise of the detector; depths in µm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def layered(depth: Tensor, boundaries: Tensor, reflectivity: Tensor, resolution: float) -> Tensor:
    """Intensity (n, h, w) of layers at the ``depth`` (h,) of the pixels, blurred along it by ``resolution`` µm (SD).

    ``boundaries`` (n, k, w) lie one below the other, and ``reflectivity`` (n, k + 1, w) are those of what lies above
    the first, between, and below the last. The blur of a layer is exact: a difference of two error functions.
    """
    soft = 1 / (math.sqrt(2) * resolution)
    below = 0.5 * (1 + torch.erf((depth[:, None] - boundaries[:, :, None]) * soft))  # (n, k, h, w)
    steps = reflectivity[:, 1:] - reflectivity[:, :-1]
    return reflectivity[:, :1] + (steps[:, :, None] * below).sum(1)


def number(depth: Tensor, boundaries: Tensor) -> Tensor:
    """int64 (n, h, w): how many boundaries lie above the middle of a pixel."""
    return (depth[:, None] > boundaries[:, :, None]).sum(1)


def speckle(looks: float, shape: tuple[int, ...], rng) -> Tensor:
    """What intensity is multiplied by: Gamma of mean 1 and standard deviation 1/√looks, its contrast.

    One look is fully developed speckle, whose intensity is exponential; averaging L independent ones gives Gamma(L)
    (Goodman, J Opt Soc Am 66:1145, 1976). Grains are taken to be smaller than a pixel, so that pixels are independent.
    """
    return torch.from_numpy(rng.gamma(looks, 1 / looks, shape)).float()


def to_db(intensity: Tensor) -> Tensor:
    """10 log₁₀ of the intensity, 0 dB at the mean noise."""
    return 10 * torch.log10(intensity.clamp(min=1e-6))


def from_db(level: Tensor) -> Tensor:
    """Inverse of `to_db`."""
    return torch.pow(10, level / 10)
