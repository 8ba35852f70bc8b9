"""Two-sample tests by a classifier: how well can the sets be told apart?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from medgan_lib.metrics.samples import choose, matrices, permutation

if TYPE_CHECKING:
    import numpy as np


class TwoSample(NamedTuple):
    """Accuracy of telling fakes from real samples, 0.5 being chance, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


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

    real, fake = matrices(real, fake, least=10)
    if groups is not None and len(groups) != len(real):
        raise ValueError(f"{len(real)} real samples but {len(groups)} groups")
    count = min(len(real), len(fake))
    kept = permutation(len(real), seed)[:count]
    groups = None if groups is None else torch.as_tensor(groups).cpu()[kept].numpy()
    real, fake = real[kept.to(real.device)].cpu().numpy(), choose(fake, count, seed).cpu().numpy()
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


def told_apart(source: Tensor, target: Tensor, seed: int = 0, judge: str = "rbf") -> float:
    """Accuracy of a *new* domain classifier on samples that it was not trained on; 0.5 is chance.

    A support vector machine on standardised features, trained on one half of ``source`` (n, d) and ``target`` (m, d)
    and tested on the other; the larger set is cut, so that both domains count the same. ``judge``: "rbf" for a Gaussian
    kernel, or "linear" for a plane, as in Ganin et al. 2016. Samples must be of different subjects. It is not
    `metrics.two_sample_test`, which keeps samples that lie close together in one half: features of a classifier lie in
    tight clusters, a class each, and would all be kept together.
    Raises ValueError for another judge, matrices of unequal width, fewer than 10 samples, or values that aren't finite.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, LinearSVC

    judges = {"rbf": SVC, "linear": lambda: LinearSVC(C=0.01, dual=False)}
    if judge not in judges:
        raise ValueError(f"the judge must be one of {', '.join(judges)}, not {judge!r}")
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(f"features must be (n, d) and (m, d), not {tuple(source.shape)} and {tuple(target.shape)}")
    n = min(len(source), len(target)) // 2
    if n < 5:
        raise ValueError(f"too few samples: {len(source)} and {len(target)}; at least 10 of each are needed")
    draw = torch.Generator().manual_seed(seed)
    S, T = (h.detach().cpu().double()[torch.randperm(len(h), generator=draw)[: 2 * n]] for h in (source, target))
    if not (S.isfinite().all() and T.isfinite().all()):
        raise ValueError("features have values that are not finite (NaN or infinity)")
    domain = torch.arange(2).repeat_interleave(n).numpy()
    trained = make_pipeline(StandardScaler(), judges[judge]()).fit(torch.cat([S[:n], T[:n]]).numpy(), domain)
    return float((trained.predict(torch.cat([S[n:], T[n:]]).numpy()) == domain).mean())


def proxy_a_distance(source: Tensor, target: Tensor, seed: int = 0, judge: str = "rbf") -> float:
    """2 (1 - 2 e), e the error of the new domain classifier of `told_apart`, whose arguments and errors are these.

    0: nothing tells the domains apart; 2: every sample can be told. An e above chance counts as chance.
    Source: Ben-David et al. 2010; Ganin et al. 2016 estimate it with a linear judge.
    """
    return max(0.0, 4 * told_apart(source, target, seed, judge) - 2)
