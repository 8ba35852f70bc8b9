"""Smooth random functions of space, from which simulated anatomy and coil sensitivities get their variety."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SmoothField:
    """A stationary random function of (x, y, z) in mm with mean 0 and a Gaussian correlation.

    A sum of cosine waves with Gaussian random wave vectors approximates the Gaussian process whose correlation at
    distance r is exp(-r² / (2 length²)) (Rahimi & Recht, NeurIPS 2007). It is a formula rather than a grid of numbers:
    every slice of a subject, at any resolution, sees the same function.
    """

    waves: NDArray  # (k, 3) in rad/mm
    phases: NDArray  # (k,)
    sd: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, sd: float, length: float, waves: int = 24) -> SmoothField:
        """Draw a field of standard deviation `sd` (any unit) and correlation length `length` (mm)."""
        return cls(rng.standard_normal((waves, 3)) / length, rng.uniform(0, 2 * np.pi, waves), sd)

    def on_plane(self, x: NDArray, y: NDArray, z: float) -> NDArray:
        """Values at the points of a plane: x (w,), y (h,) and z in mm → float32 (h, w).

        cos(a + b) = cos a cos b − sin a sin b makes this a matrix product instead of h·w·k cosines.
        """
        across = np.outer(self.waves[:, 0], x).astype(np.float32)
        down = (np.outer(y, self.waves[:, 1]) + self.waves[:, 2] * z + self.phases).astype(np.float32)
        scale = np.float32(self.sd * math.sqrt(2 / len(self.waves)))
        rows = np.concatenate([np.cos(down), np.sin(down)], 1) * scale
        return rows @ np.concatenate([np.cos(across), -np.sin(across)])
