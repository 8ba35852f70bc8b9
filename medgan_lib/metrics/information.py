"""Mutual information between codes and factors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from medgan_lib.metrics.samples import in_double, permutation


class MutualInformationGap(NamedTuple):
    """The gap, in [0, 1], its floor for codes that know nothing, and what it is made of.

    ``information`` (codes, factors) in nats, ``gaps`` (factors,) as shares of each factor's entropy.
    """

    value: float
    floor: float
    information: Tensor
    gaps: Tensor


def mutual_information(a: Tensor, b: Tensor, bins: int = 10) -> Tensor:
    """Mutual information in nats of every column of ``a`` with every column of ``b``, from a joint histogram.

    Floating-point columns are cut at their quantiles into ``bins`` classes of equal size, so that only the order of
    the values counts; equal values stay together, and a constant column has one class. Integer columns are classes.
    The plug-in estimate is biased upwards, by about (classes of a − 1)(classes of b − 1) / 2n for independent columns
    (Miller 1955): 0.04 nats for 10 × 10 bins and n = 1000.

    Args:
        a, b: (n, d) and (n, f).
        bins: at least 2.

    Returns:
        float64 (d, f) on the CPU.

    Raises:
        ValueError: not two matrices with equally many rows, fewer rows than bins, or values that are not finite.
    """
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(
            f"expected (samples, codes) and (samples, factors), not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if bins < 2 or (len(a) < bins and (a.is_floating_point() or b.is_floating_point())):
        raise ValueError(f"bins is {bins}; it must be at least 2 and at most the number of samples, {len(a)}")
    ours, theirs = ([_classes(column, bins) for column in x.cpu().T] for x in (a, b))
    return torch.stack([torch.stack([_plug_in(i, j) for j in theirs]) for i in ours])


def mutual_information_gap(
    codes: Tensor, factors: Tensor, *, bins: int = 10, repeats: int = 20, seed: int = 0
) -> MutualInformationGap:
    """How far each known factor is described by one code alone.

    For each factor v: the mutual information of the code that tells most about it, minus that of the second, over
    H(v); then the mean over factors. 1 if every factor is given by a code of its own, 0 if no code knows anything,
    and also if two codes share a factor evenly. A single code may serve several factors without loss. Information is
    that of :func:`mutual_information`, whose bias is largely, not wholly, in both terms of the gap: the largest of
    several noisy numbers is above the second. ``floor`` is what remains for the same codes in random order, a mean
    over ``repeats`` shuffles. Source: Chen et al. 2018, Sec. 4, who integrate over the posterior of a code where
    this takes one value a sample.

    Args:
        codes: what is read off each sample (n, d), d >= 2.
        factors: the truth (n, f).
        bins: classes for each floating-point column.

    Raises:
        ValueError: fewer than two codes, a factor that never changes, and as :func:`mutual_information`.
    """
    codes, factors = torch.as_tensor(codes), torch.as_tensor(factors)
    if codes.ndim == 2 and codes.shape[1] < 2:
        raise ValueError("a gap needs at least two codes: it is between the best and the second")
    information = mutual_information(codes, factors, bins)
    entropy = torch.stack([_plug_in(v, v) for v in (_classes(column, bins) for column in factors.cpu().T)])
    if (entropy <= 0).any():
        raise ValueError(f"factor {int(entropy.argmin())} never changes: there is nothing to describe")

    def gaps(information: Tensor) -> Tensor:
        best, second = information.topk(2, dim=0).values
        return (best - second) / entropy

    shuffled = [codes[permutation(len(codes), seed + i).to(codes.device)] for i in range(repeats)]
    floor = torch.stack([gaps(mutual_information(each, factors, bins)).mean() for each in shuffled]).mean()
    found = gaps(information)
    return MutualInformationGap(found.mean().item(), floor.item(), information, found)


def _classes(column: Tensor, bins: int) -> Tensor:
    """A column as classes 0, 1, …; those of real numbers lie between its quantiles."""
    if column.is_floating_point():
        column = in_double(column, "codes and factors").contiguous()
        inner = torch.arange(1, bins, dtype=torch.float64) / bins
        column = torch.bucketize(column, column.quantile(inner).unique(), right=True)
    return column.unique(return_inverse=True)[1]


def _plug_in(a: Tensor, b: Tensor) -> Tensor:
    """Mutual information of two columns of classes, in nats; a column's with itself is its entropy."""
    size = int(b.max()) + 1
    joint = torch.bincount(a * size + b, minlength=(int(a.max()) + 1) * size).reshape(-1, size).double() / len(a)
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.where(joint > 0, joint * (joint / apart).log(), 0.0).sum()
