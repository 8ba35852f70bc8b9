"""Augmentation in front of a discriminator, so that it can't learn a few real images by heart (Karras et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Shift(nn.Module):
    """In training moves every image (n, c, h, w) by up to ``pixels`` each way; afterwards does nothing.

    By parts of a pixel, which blurs a little, or with ``whole`` by whole ones. What enters at the border is black, -1.
    Real and generated images pass it alike, so a generator has no need to shift. Gradients pass. Raises ValueError for
    pixels that aren't above 0.
    """

    def __init__(self, pixels: float, *, whole: bool = False) -> None:
        super().__init__()
        if not pixels > 0:
            raise ValueError(f"pixels must be above 0, not {pixels}")
        self.pixels, self.whole = pixels, whole

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        by = self.pixels * (2 * torch.rand(len(x), 2, device=x.device) - 1)
        if self.whole:
            by = by.round()
        move = torch.eye(2, 3, device=x.device).repeat(len(x), 1, 1)
        move[:, :, 2] += by * 2 / torch.tensor([x.shape[-1], x.shape[-2]], device=x.device)
        grid = F.affine_grid(move, list(x.shape), align_corners=False)
        return F.grid_sample(x.float() + 1, grid, align_corners=False) - 1
