"""Two-dimensional toys whose modes are known (review Sec. 2.1-2.2: mode collapse, and Wasserstein against JSD)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cohort import SPLITS, Cohort, subject_ids


def ring_modes(k: int = 8, radius: float = 2.0) -> Tensor:
    """(k, 2) points evenly spaced on a circle, from angle 0 on."""
    angle = torch.arange(k) * (2 * math.pi / k)
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def grid_modes(k: int = 5, spacing: float = 1.0) -> Tensor:
    """(k*k, 2) points of a square grid around the origin."""
    line = (torch.arange(k) - (k - 1) / 2) * spacing
    return torch.cartesian_prod(line, line)


def ring(
    split: str, *, size: None = None, n: int | None = None, seed: int = 0, k: int = 8, radius: float = 2.0,
    sigma: float = 0.02,
) -> Cohort:  # fmt: skip
    """``k`` Gaussians of standard deviation ``sigma`` on a circle; ``x`` (n, 2), ``label`` (n,) is the mode.

    ``truth``: "modes" (k, 2) and "sigma". Set-up of Metz et al. 2017 (unrolled GANs).
    """
    return _mixture("ring", ring_modes(k, radius), sigma, split, size, n, seed)


def grid(
    split: str, *, size: None = None, n: int | None = None, seed: int = 0, k: int = 5, spacing: float = 1.0,
    sigma: float = 0.05,
) -> Cohort:  # fmt: skip
    """``k`` x ``k`` Gaussians on a square grid; ``x`` (n, 2), ``label`` (n,) is the mode; ``truth`` as of `ring`."""
    return _mixture("grid", grid_modes(k, spacing), sigma, split, size, n, seed)


def lines(split: str, *, size: None = None, n: int | None = None, seed: int = 0, theta: float = 1.0) -> Cohort:
    """Two parallel vertical lines, independent points of each: ``x`` = (0, u), ``y`` = (theta, v), u, v ~ U(0, 1).

    For ``theta`` != 0 the supports are disjoint: JSD(x, y) = log 2 whatever theta is, W1(x, y) = |theta|
    (Arjovsky et al. 2017, example 1). ``truth``: "theta", "w1" and "jsd" in nats.
    """
    _no_size("lines", size)
    if not math.isfinite(theta):
        raise ValueError(f"theta must be a finite number, it is {theta}")
    n, rng = n or 10_000, _rng("lines", split, seed)
    u = torch.from_numpy(rng.random((2, n), dtype=np.float32))
    x = torch.stack([torch.zeros(n), u[0]], 1)
    y = torch.stack([torch.full((n,), float(theta)), u[1]], 1)
    truth = {"theta": float(theta), "w1": abs(float(theta)), "jsd": math.log(2) if theta else 0.0}
    return _toy("lines", {"x": x, "y": y}, split, seed, truth, f"two parallel lines {theta:g} apart")


def _mixture(name: str, modes: Tensor, sigma: float, split: str, size: None, n: int | None, seed: int) -> Cohort:
    _no_size(name, size)
    if not sigma > 0:
        raise ValueError(f"sigma of {name!r} must be positive, it is {sigma}")
    n, rng = n or 10_000, _rng(name, split, seed)
    label = torch.from_numpy(rng.integers(len(modes), size=n))
    x = modes[label] + sigma * torch.from_numpy(rng.standard_normal((n, 2), dtype=np.float32))
    note = f"{len(modes)} Gaussians of standard deviation {sigma:g}"
    return _toy(name, {"x": x, "label": label}, split, seed, {"modes": modes, "sigma": float(sigma)}, note)


def _toy(name: str, tensors: dict[str, Tensor], split: str, seed: int, truth: dict, note: str) -> Cohort:
    n = len(tensors["x"])
    points = [key for key in tensors if key != "label"]
    return Cohort(
        name=name,
        tensors=tensors,
        subjects=subject_ids(split, seed, n),
        units=dict.fromkeys(points, "1"),
        window=dict.fromkeys(points, (-1.0, 1.0)),  # coordinates stand for themselves
        origin="embedded",
        split=split,
        classes={"label": tuple(str(k) for k in range(len(truth["modes"])))} if "label" in tensors else {},
        note=note,
        truth=truth,
    )


def _rng(name: str, split: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([*name.encode(), SPLITS.index(split), seed])


def _no_size(name: str, size: int | None) -> None:
    if size is not None:
        raise ValueError(f"{name!r} are points in the plane: size must be left out, it is {size}")
