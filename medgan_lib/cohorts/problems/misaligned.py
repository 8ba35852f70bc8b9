"""Pairs whose two images do not lie on each other, as registration leaves them behind."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from medgan_lib.cohorts.cohort import Cohort


def misaligned(cohort: Cohort, mm: float, seed: int = 1) -> Cohort:
    """The pairs with every x moved by ``mm``, in a direction that is drawn for each subject and stays hidden.

    All else stays where it is. Without a ``spacing`` a pixel counts as 1 mm. 0 mm: as it was, bit for bit.
    """
    if not mm:
        return cohort
    people, who = cohort.subjects.unique(return_inverse=True)
    angle = 2 * math.pi * torch.rand(len(people), generator=torch.Generator().manual_seed(seed))[who]
    length = mm / pixel_mm(cohort)
    return replace(cohort, tensors={**cohort.tensors, "x": moved(cohort.x, length * angle.cos(), length * angle.sin())})


def pixel_mm(cohort: Cohort) -> float:
    """mm a pixel, 1 where nobody knows."""
    return cohort.spacing[-1] if cohort.spacing else 1.0


def moved(images: Tensor, right: Tensor | float, down: Tensor | float) -> Tensor:
    """Images (n, 1, h, w) in [-1, 1] moved by pixels, each by its own (n,): bicubic, the border repeated."""
    n, _, h, w = images.shape
    right, down = (torch.as_tensor(by, dtype=images.dtype).expand(n)[:, None, None] for by in (right, down))
    rows, columns = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    place = torch.stack([(columns - right) * 2 / w - 1, (rows - down) * 2 / h - 1], -1).to(images)
    return grid_sample(images, place, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)


def everywhere(images: Tensor, pixels: float, directions: int = 15) -> Tensor:
    """Images (n, 1, h, w) moved by so many pixels in every direction: (directions, n, 1, h, w)."""
    angles = [2 * math.pi * k / directions for k in range(directions)]
    return torch.stack([moved(images, pixels * math.cos(a), pixels * math.sin(a)) for a in angles])
