"""Distances between sets of samples: Fréchet, Wasserstein, precision and recall, density and coverage."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medgan_lib.metrics.copies import nearest
from medgan_lib.metrics.samples import choose, distances_by_row, matrices


class Score(NamedTuple):
    """A distance of fakes from real samples, and the same distance of other real samples: its floor."""

    value: float
    floor: float


class PRDC(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage); all in [0, 1] but density, which is >= 0."""

    precision: float
    recall: float
    density: float
    coverage: float


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between the Gaussians that fit two sets of features.

    ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), in float64. The estimate is biased upwards, the more
    the fewer the samples: compare only equal numbers of samples, beside a floor (:func:`with_floor`).
    Source: Heusel et al. 2017, with the features of a network of the images' own domain.

    Args:
        a, b: features (n, d) and (m, d); n and m should be well above d.

    Returns:
        The distance, in squared units of the features; 0 for identical sets, symmetric.

    Raises:
        ValueError: not two matrices of equal width, fewer than 2 samples, or values that are not finite.

    Warns:
        UserWarning: no more samples than features; a covariance is then singular and the bias large.
    """
    a, b = matrices(a, b, least=2)
    features = a.shape[1]
    if min(len(a), len(b)) <= features:
        message = f"Fréchet distance of {len(a)} and {len(b)} samples with {features} features is badly biased"
        warnings.warn(f"{message}: use more samples or fewer features", stacklevel=2)
    gap = (a.mean(0) - b.mean(0)).square().sum()
    # Σ = RᵀR, so that Tr (Σ_a Σ_b)^½ is the sum of the singular values of R_a R_bᵀ: small ones stay exact, while the
    # square root of an eigenvalue of the product, which has lost half of its digits, would not
    R_a, R_b = (torch.linalg.qr((x - x.mean(0)).cpu() / (len(x) - 1) ** 0.5, mode="r").R for x in (a, b))
    spread = R_a.square().sum() + R_b.square().sum() - 2 * torch.linalg.svdvals(R_a @ R_b.T).sum()
    return max(0.0, gap.item() + spread.item())


def wasserstein1(a: Tensor, b: Tensor) -> float:
    """Exact Wasserstein-1 distance between two samples, for the Euclidean distance.

    In one dimension by sorting, else by solving the assignment problem: about 1 s for 2000 samples, and the
    time grows with the cube of their number. With few samples in many dimensions it is far above the
    distance of the distributions. Source: Eq. 3 of the review, whose critic estimates it.

    Args:
        a, b: (n,) or (n, d), and (m,) or (m, d); n = m is required for d > 1.

    Returns:
        The distance, in units of the samples.

    Raises:
        ValueError: shapes that do not fit, unequal numbers for d > 1, no samples, or values that are not
            finite.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import wasserstein_distance

    a, b = (torch.as_tensor(x)[:, None] if torch.as_tensor(x).ndim == 1 else x for x in (a, b))
    a, b = matrices(a, b, least=1)
    if a.shape[1] == 1:
        return float(wasserstein_distance(a.flatten().cpu(), b.flatten().cpu()))
    if len(a) != len(b):
        raise ValueError(
            f"W1 in {a.shape[1]} dimensions needs equally many samples, not {len(a)} and {len(b)}"
        )
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def with_floor(
    metric: Callable[[Tensor, Tensor], float], real: Tensor, other_real: Tensor, fake: Tensor
) -> Score:
    """A metric of fakes against real samples, beside what other real samples score.

    The fakes and the other real samples are cut to equal numbers (at random, always the same ones), since
    most distances depend on them; a perfect generator scores about the floor, not 0.

    Args:
        metric: for example :func:`frechet`.
        real, other_real: real samples or features, (n, ...) and (m, ...), of different subjects.
        fake: generated ones, (k, ...).

    Returns:
        ``Score(metric(real, fake), metric(real, other_real))``, each with min(m, k) samples on the right.
    """
    count = min(len(other_real), len(fake))
    return Score(float(metric(real, choose(fake, count))), float(metric(real, choose(other_real, count))))


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage by nearest neighbours in feature space.

    Each sample owns the closed ball that reaches its k-th nearest neighbour in its own set. Precision: share
    of fakes in some real ball. Recall: share of real samples in some fake ball. Density: real balls around a
    fake, on average, over k. Coverage: share of real balls that hold a fake. Two equal sets of n samples of
    one distribution score a density of 1 and a coverage of 1 − Π_{i=1..k} (n − i)/(2n − i), about 1 − 2⁻ᵏ.
    Source: Kynkäänniemi et al. 2019 (precision, recall), Naeem et al. 2020 (density, coverage).

    Args:
        real, fake: features (n, d) and (m, d), both more than k.
        k: neighbours.

    Raises:
        ValueError: not two matrices of equal width, too few samples, or values that are not finite.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    real, fake = matrices(real, fake, least=k + 1)
    # The (k + 1)-th neighbour in the own set: each sample is its own nearest neighbour.
    real_radius, fake_radius = (nearest(x, x, k + 1)[0][:, -1] for x in (real, fake))
    hits = torch.zeros(len(fake), device=real.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros_like(covered)
    for rows, distance in distances_by_row(fake, real):
        inside = distance <= real_radius
        hits[rows] = inside.sum(1).float()
        covered |= inside.any(0)
        recalled |= (distance <= fake_radius[rows, None]).any(0)
    return PRDC(
        precision=(hits > 0).double().mean().item(),
        recall=recalled.double().mean().item(),
        density=hits.double().mean().item() / k,
        coverage=covered.double().mean().item(),
    )
