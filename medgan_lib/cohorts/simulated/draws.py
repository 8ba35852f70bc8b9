"""Random numbers of simulated subjects, each subject from a stream of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cohort import SPLITS

BATCH = 32  # subjects simulated at once: fits the processor's cache


def simulated(name: str, n: int, build: Callable[[range], dict[str, Tensor]], *, quick: bool) -> dict[str, Tensor]:
    """What ``build`` makes of subjects 0 to n - 1, `BATCH` at a time, with a bar unless it is ``quick``."""
    from medgan_lib.training.progress import watched  # here: how it is shown is no part of what a cohort is

    starts = range(0, n, BATCH)
    parts = [
        build(range(start, min(start + BATCH, n)))
        for start in watched(starts, f"simulating {name}", unit="batch", hidden=quick)
    ]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


class Draws:
    """Uniform and normal numbers of a batch of subjects, handed out by column: float32 (n, k), or (n,) without k.

    A subject's numbers depend on the cohort, the split, the seed and its own index, never on the other subjects.
    """

    def __init__(self, name: str, split: str, seed: int, subjects: range, most: int):
        self.streams = [np.random.default_rng([*name.encode(), SPLITS.index(split), seed, i]) for i in subjects]
        self.numbers = torch.from_numpy(np.stack([rng.random(most, dtype=np.float32) for rng in self.streams]))
        self.used = 0

    def __len__(self) -> int:
        return len(self.streams)

    def uniform(self, low: float = 0.0, high: float = 1.0, k: int | None = None) -> Tensor:
        width = k or 1
        if self.used + width > self.numbers.shape[1]:
            raise RuntimeError("a subject needs more random numbers than were drawn: raise their number")
        columns = self.numbers[:, self.used : self.used + width]
        self.used += width
        return low + (high - low) * (columns if k else columns[:, 0])

    def normal(self, mean: float = 0.0, sd: float = 1.0, k: int | None = None) -> Tensor:
        """Cut off at 2.5 standard deviations."""
        share = 0.00621 + (1 - 2 * 0.00621) * self.uniform(k=k)
        return mean + sd * (2 * share - 1).erfinv() * math.sqrt(2)

    def angle(self, k: int | None = None) -> Tensor:
        return self.uniform(-math.pi, math.pi, k)

    def white(self, *shape: int) -> Tensor:
        """Standard normal (n, *shape). To be drawn once: what is drawn after it would depend on the shape."""
        return torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in self.streams]))
