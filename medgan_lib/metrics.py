"""Figures of merit for generated samples.

Every function takes PyTorch tensors on any device, samples along the first dimension, and computes in
float64. Where a number depends on the number of samples, its docstring says so: put the value of real
against other real samples beside it (:func:`with_floor`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np


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


class Modes(NamedTuple):
    """Modes that were reached, share of high-quality samples, KL to uniform (nats), high-quality samples by mode."""

    covered: int
    high_quality: float
    kl: float
    counts: Tensor


class TwoSample(NamedTuple):
    """Accuracy of telling fakes from real samples, 0.5 being chance, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


class Memorisation(NamedTuple):
    """Distances to the nearest training sample, of fakes (n,) and held-out real samples (m,), and the alarms.

    ``copies`` (n,) marks suspicious fakes, ``share`` is their share, ``false_alarms`` that of fresh real samples.
    """

    fake: Tensor
    held_out: Tensor
    copies: Tensor
    share: float
    false_alarms: float


class Spectrum(NamedTuple):
    """Radial frequency in cycles per pixel, mean power at it, number of Fourier coefficients; each (bins,)."""

    frequency: Tensor
    power: Tensor
    count: Tensor


class MutualInformationGap(NamedTuple):
    """The gap, in [0, 1], its floor for codes that know nothing, and what it is made of.

    ``information`` (codes, factors) in nats, ``gaps`` (factors,) as shares of each factor's entropy.
    """

    value: float
    floor: float
    information: Tensor
    gaps: Tensor


# --- distances between distributions ----------------------------------------------------------


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between the Gaussians that fit two sets of features.

    ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), by torchmetrics. The estimate is biased upwards, the more
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
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = _pair(a, b, least=2)
    features = a.shape[1]
    if min(len(a), len(b)) <= features:
        message = (
            f"Fréchet distance of {len(a)} and {len(b)} samples with {features} features is badly biased"
        )
        warnings.warn(f"{message}: use more samples or fewer features", stacklevel=2)
    as_it_is = nn.Identity()
    as_it_is.num_features = features
    metric = FrechetInceptionDistance(as_it_is, normalize=True).set_dtype(torch.float64)
    # torchmetrics sums raw second moments; the distance does not see a common shift, its rounding errors do.
    shift = torch.cat((a, b)).mean(0)
    metric.update((a - shift).cpu(), real=True)
    metric.update((b - shift).cpu(), real=False)
    return max(0.0, metric.compute().item())


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
    a, b = _pair(a, b, least=1)
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
    return Score(float(metric(real, _choose(fake, count))), float(metric(real, _choose(other_real, count))))


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
    real, fake = _pair(real, fake, least=k + 1)
    # The (k + 1)-th neighbour in the own set: each sample is its own nearest neighbour.
    real_radius, fake_radius = (nearest(x, x, k + 1)[0][:, -1] for x in (real, fake))
    hits = torch.zeros(len(fake), device=real.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = torch.zeros_like(covered)
    for rows, distance in _distances(fake, real):
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


def two_sample_test(real: Tensor, fake: Tensor, seed: int = 0, *, groups: Tensor | None = None) -> TwoSample:
    """How well a classifier trained on one half of the samples tells fakes from real ones in the other half.

    A support vector machine with a Gaussian kernel on standardised features. Real near-duplicates (nearer than a
    twentieth of the median distance to the 20th neighbour) and real samples of one group stay in one half, else
    the classifier would know them again. Fakes that resemble each other are split: that is what the test is to find.
    Both halves hold as many fakes as real samples, so that chance is 0.5. The interval is the binomial one of
    Clopper and Pearson on the second half. Cross-validation would use all samples twice, but its judgements are
    not independent: its interval misses 0.5 in 12 % of comparisons of equal distributions instead of 5 %.
    An accuracy clearly below 0.5 means that fakes sit on top of real samples: see :func:`memorisation`.
    Source: Lopez-Paz and Oquab 2017.

    Args:
        real, fake: features (n, d) and (m, d), at least 10 each, up to a few thousand; the larger set is cut.
        seed: of the cut and of the halves.
        groups: subjects of the real samples (n,).

    Raises:
        ValueError: not two matrices of equal width, too few samples or groups, or values that are not finite.
    """
    import numpy as np
    from scipy.stats import binomtest
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    real, fake = _pair(real, fake, least=10)
    if groups is not None and len(groups) != len(real):
        raise ValueError(f"{len(real)} real samples but {len(groups)} groups")
    count = min(len(real), len(fake))
    kept = _permutation(len(real), seed)[:count]
    groups = None if groups is None else torch.as_tensor(groups).cpu()[kept].numpy()
    real, fake = real[kept.to(real.device)].cpu().numpy(), _choose(fake, count, seed).cpu().numpy()
    together = _near_duplicates(real, groups)
    if together.max() < 3:
        raise ValueError(
            f"the real samples form {together.max() + 1} groups; at least 4 are needed for two halves"
        )
    first, second = next(GroupShuffleSplit(1, train_size=0.5, random_state=seed).split(real, groups=together))
    classifier = make_pipeline(StandardScaler(), SVC(random_state=seed))
    classifier.fit(np.concatenate((real[first], fake[: len(first)])), np.repeat([1, 0], len(first)))
    is_real = classifier.predict(np.concatenate((real[second], fake[len(first) :]))) == 1
    right = int((is_real == np.repeat([True, False], len(second))).sum())
    interval = binomtest(right, 2 * len(second)).proportion_ci(0.95, method="exact")
    return TwoSample(right / (2 * len(second)), float(interval.low), float(interval.high))


def _near_duplicates(x: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Labels 0, 1, … of the rows of ``x``, equal for near-duplicates and for members of one group."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors().fit(x)
    # The 20th neighbour tells the scale even if most samples have a few duplicates. Of independent samples on a
    # line, in the plane or in space, 1, 0.05 or 0.0025 are expected within a twentieth of it: too few to chain up.
    radius = 0.05 * np.median(index.kneighbors(n_neighbors=min(20, len(x) - 1))[0][:, -1])
    links = index.radius_neighbors_graph(radius=radius)
    if groups is not None:
        _, first, member = np.unique(groups, return_index=True, return_inverse=True)
        links = links + coo_array((np.ones(len(x)), (np.arange(len(x)), first[member])), shape=links.shape)
    return connected_components(links, directed=False)[1]


# --- copies and modes -------------------------------------------------------------------------


def nearest(a: Tensor, b: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean distance to, and index of, the nearest samples in ``b`` for each sample of ``a``.

    Args:
        a, b: (n, ...) and (m, ...), images or features; samples are flattened.
        k: neighbours.

    Returns:
        distance float64 and index int64, both (n,) for k = 1 and else (n, k) from near to far, on a's device.

    Raises:
        ValueError: samples of different sizes, fewer than k in ``b``, or values that are not finite.
    """
    a, b = _pair(_flat(a), _flat(b), least=1)
    if not 1 <= k <= len(b):
        raise ValueError(f"cannot find {k} neighbours among {len(b)} samples")
    found = [distance.topk(k, largest=False) for _, distance in _distances(a, b)]
    distance, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    return (distance[:, 0], index[:, 0]) if k == 1 else (distance, index)


def memorisation(
    train: Tensor, held_out: Tensor, fake: Tensor, *, alarm: float = 0.05, k: int = 10
) -> Memorisation:
    """Are fakes copies of training samples?

    The distance to the nearest training sample alone would accuse a generator of smooth images, which lie
    near everything. So it is taken relative to the mean distance to the ``k`` nearest: a copy is much nearer
    to one training sample than to the next ones. A fake is suspicious if this ratio is below the ``alarm``
    quantile of one half of the held-out real samples; the other half measures how often a fresh real sample
    would be accused. A share of suspicious fakes near the false alarms means nothing; far above, look at the
    pairs. Source: the relative distance follows Carlini et al. 2023.

    Args:
        train: what the generator was trained on (n, ...), images or features.
        held_out: real samples of other subjects (m, ...), at least 40.
        fake: generated samples (f, ...).
        alarm: share of fresh real samples that may be accused.
        k: neighbours.

    Raises:
        ValueError: samples of different sizes, too few, not finite, or a held-out set with training samples
            in it.
    """
    if len(held_out) < 40:
        raise ValueError(
            f"{len(held_out)} held-out samples are too few to set the alarm; at least 40 are needed"
        )
    held_distance, held_ratio = _closeness(held_out, train, k)
    fake_distance, fake_ratio = _closeness(fake, train, k)
    setting, measuring = held_ratio[_permutation(len(held_ratio), 0).to(held_ratio.device)].chunk(2)
    threshold = setting.quantile(alarm)
    if threshold < 1e-6:  # an exact copy, up to rounding
        raise ValueError("held-out samples are among the training samples; split by subject")
    copies = fake_ratio < threshold
    return Memorisation(
        fake_distance,
        held_distance,
        copies,
        share=copies.double().mean().item(),
        false_alarms=(measuring < threshold).double().mean().item(),
    )


def _closeness(x: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distance to the nearest training sample, and its ratio to the mean over the k nearest."""
    if k < 2:
        raise ValueError(f"k must be at least 2, not {k}")
    distance, _ = nearest(x, train, k)
    first = distance[:, 0]
    return first, first / distance.mean(1).clamp_min(torch.finfo(torch.float64).tiny)


def modes_covered(
    samples: Tensor, modes: Tensor, sigma: float, *, within: float = 3.0, min_count: int = 1
) -> Modes:
    """Which modes of a mixture of equal Gaussians a generator reaches, and how evenly.

    A sample belongs to the nearest mode and is of high quality within ``within`` standard deviations of it
    (for real samples in two dimensions and 3σ a share of 1 − e^−4.5 = 98.9 %). A mode is covered if at least
    ``min_count`` high-quality samples belong to it. KL is that of the high-quality samples' distribution
    over modes to the uniform one: 0 if even, log(modes) if all are in one mode or there is none. Source:
    experiments with rings and grids in Srivastava et al. 2017 (VEEGAN).

    Args:
        samples: (n, d).
        modes: their centres (modes, d).
        sigma: standard deviation of each mode, in units of the samples.

    Raises:
        ValueError: shapes that do not fit, sigma not positive, no samples, or values that are not finite.
    """
    samples, modes = _pair(samples, modes, least=1)
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    distance, mode = nearest(samples, modes)
    good = distance <= within * sigma
    counts = torch.bincount(mode[good], minlength=len(modes))
    share = counts[counts > 0].double() / counts.sum().clamp_min(1)
    kl = math.log(len(modes)) + (share * share.log()).sum().item()
    return Modes(int((counts >= min_count).sum()), good.double().mean().item(), max(0.0, kl), counts.cpu())


# --- codes and factors ------------------------------------------------------------------------


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

    shuffled = [codes[_permutation(len(codes), seed + i).to(codes.device)] for i in range(repeats)]
    floor = torch.stack([gaps(mutual_information(each, factors, bins)).mean() for each in shuffled]).mean()
    found = gaps(information)
    return MutualInformationGap(found.mean().item(), floor.item(), information, found)


def _classes(column: Tensor, bins: int) -> Tensor:
    """A column as classes 0, 1, …; those of real numbers lie between its quantiles."""
    if column.is_floating_point():
        column = _double(column, "codes and factors").contiguous()
        inner = torch.arange(1, bins, dtype=torch.float64) / bins
        column = torch.bucketize(column, column.quantile(inner).unique(), right=True)
    return column.unique(return_inverse=True)[1]


def _plug_in(a: Tensor, b: Tensor) -> Tensor:
    """Mutual information of two columns of classes, in nats; a column's with itself is its entropy."""
    size = int(b.max()) + 1
    joint = torch.bincount(a * size + b, minlength=(int(a.max()) + 1) * size).reshape(-1, size).double() / len(a)
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.where(joint > 0, joint * (joint / apart).log(), 0.0).sum()


# --- images -----------------------------------------------------------------------------------


def features(net: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """``net.features`` of all samples in evaluation mode, without gradients; the net's mode is given back.

    Args:
        net: has a method ``features``: (n, ...) -> (n, d).
        x: samples (n, ...), on any device.
        batch: samples at a time.

    Returns:
        float32 (n, d) on the net's device.

    Raises:
        ValueError: no samples, or a network without ``features``.
    """
    if not callable(getattr(net, "features", None)):
        raise ValueError(f"{type(net).__name__} has no method features(x); use an Encoder")
    if len(x) == 0:
        raise ValueError("no samples to compute features of")
    device = next((parameter.device for parameter in net.parameters()), x.device)
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            return torch.cat([net.features(part.to(device)).float() for part in x.split(batch)])
    finally:
        net.train(training)


def spectrum(x: Tensor) -> Spectrum:
    """Radially averaged power spectrum of images, mean over samples and channels.

    With the orthonormal Fourier transform, so that Σ power · count is the mean over samples and channels of
    the sum of squared pixels (Parseval). Shows checkerboards (a peak at half a cycle per pixel) and missing
    detail.

    Args:
        x: (n, channels, *spatial), one to three spatial dimensions.

    Returns:
        Bins of width 1 / (largest size) from frequency 0 to the corner of the spectrum.

    Raises:
        ValueError: not 3 to 5 dimensions, no samples, or values that are not finite.
    """
    x = torch.as_tensor(x)
    if not 3 <= x.ndim <= 5 or x.numel() == 0:
        raise ValueError(f"spectrum expects images (n, channels, *spatial), not shape {tuple(x.shape)}")
    spatial = x.shape[2:]
    x = _double(x, "images")
    power = torch.fft.fftn(x, dim=tuple(range(2, x.ndim)), norm="ortho").abs().square().mean((0, 1)).flatten()
    axes = torch.meshgrid(*(torch.fft.fftfreq(size, dtype=torch.float64) for size in spatial), indexing="ij")
    radius = torch.stack(axes).square().sum(0).sqrt().flatten().to(x.device)
    ring = (radius * max(spatial)).round().long()
    count = torch.bincount(ring)
    filled = count > 0
    mean = torch.bincount(ring, weights=power)[filled] / count[filled]
    frequency = torch.arange(len(count), dtype=torch.float64)[filled.cpu()] / max(spatial)
    return Spectrum(frequency, mean.cpu(), count[filled].cpu())


# --- input ------------------------------------------------------------------------------------


def _double(x: Tensor, name: str) -> Tensor:
    x = torch.as_tensor(x).detach()
    x = (x.cpu() if x.device.type == "mps" else x).double()  # that device has no float64
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} have values that are not finite (NaN or infinity)")
    return x


def _flat(x: Tensor) -> Tensor:
    x = torch.as_tensor(x)
    if x.ndim < 2:
        raise ValueError(f"expected samples (n, ...), not shape {tuple(x.shape)}")
    return x.flatten(1)


def _pair(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Two matrices (n, d) and (m, d) in float64 on the first one's device."""
    a, b = _double(a, "the first samples"), _double(b, "the second samples")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"expected two matrices (samples, features) of equal width, not {shapes}")
    if min(len(a), len(b)) < least:
        raise ValueError(f"too few samples: {len(a)} and {len(b)}; at least {least} of each are needed")
    return a, b.to(a.device)


def _distances(a: Tensor, b: Tensor, rows: int = 1024) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances (rows, m) of successive rows of ``a``, so that memory stays bounded."""
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        yield part, torch.cdist(a[part], b)


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _choose(x: Tensor, count: int, seed: int = 0) -> Tensor:
    """``count`` samples of ``x``, at random, always the same."""
    return x[_permutation(len(x), seed)[:count].to(x.device)]
