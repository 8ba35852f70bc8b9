"""Curves with known geometry."""

from __future__ import annotations

import math

import torch
from torch import Tensor

F64 = torch.float64


def helix(points: int, radius: float = 8.0, rise: float = 3.0, turns: float = 1.5) -> Tensor:
    angle = torch.linspace(0, 2 * math.pi * turns, points, dtype=F64)
    return torch.stack([radius * angle.cos(), radius * angle.sin(), rise * angle])
