"""How well a score tells two kinds of items apart: the ROC curve, its area, and an interval over subjects.

A score (n,) is higher where an item is more likely positive; ``positive`` (n,) is bool. Everything is computed in
float64 on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class AUC(NamedTuple):
    """Area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(score: Tensor, positive: Tensor) -> float:
    """The share of pairs of a positive and a negative item in which the positive one scores higher.

    A tie counts one half (Mann and Whitney). 0.5 is chance. Raises ValueError for scores that are not finite, other
    shapes, and where one kind is missing.
    """
    from sklearn.metrics import roc_auc_score

    above, below = _parts(score, positive)
    return float(roc_auc_score([True] * len(above) + [False] * len(below), torch.cat([above, below]).numpy()))


def roc_curve(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Share of false and of true alarms as the threshold falls from above all scores to the lowest: (k,) each.

    Equal scores are passed in one step, so that the area under the straight lines between the points is `auc`. Raises
    ValueError as `auc` does.
    """
    from sklearn import metrics

    above, below = _parts(score, positive)
    true = [True] * len(above) + [False] * len(below)
    false, true, _ = metrics.roc_curve(true, torch.cat([above, below]).numpy(), drop_intermediate=False)
    return torch.from_numpy(false), torch.from_numpy(true)


def auc_interval(
    score: Tensor, positive: Tensor, subjects: Tensor | None = None, *, draws: int = 1000, seed: int = 0
) -> AUC:
    """`auc` with the interval that holds 95 % of bootstrap draws of whole subjects.

    Items of one subject resemble each other, so it is subjects (n,) that are drawn, with all their items; None takes
    every item for a subject of its own. Subjects with a positive item and subjects without are drawn apart, as many of
    each as there are. Draws without any item of one kind, which happen where all subjects have both, are left out. The
    percentile interval is somewhat short for few subjects. Raises ValueError as `auc` does.
    """
    above, below = _parts(score, positive)
    positive = positive.cpu()
    subjects = torch.arange(len(positive)) if subjects is None else subjects.cpu()
    if subjects.shape != positive.shape:
        raise ValueError(f"{len(subjects)} subjects for {len(positive)} items")
    member = subjects.unique(return_inverse=True)[1]
    people = int(member.max()) + 1
    ill = torch.zeros(people, dtype=torch.bool)
    ill[member[positive]] = True
    random = torch.Generator().manual_seed(seed)
    times = torch.zeros(draws, people, dtype=torch.float64)  # how often each subject is drawn
    for stratum in (ill.nonzero().flatten(), (~ill).nonzero().flatten()):
        if len(stratum):
            pick = stratum[torch.randint(len(stratum), (draws, len(stratum)), generator=random)]
            times.scatter_add_(1, pick, torch.ones_like(pick, dtype=torch.float64))
    ahead = _ahead(above, below)
    weight_above, weight_below = times[:, member[positive]], times[:, member[~positive]]
    pairs = weight_above.sum(1) * weight_below.sum(1)
    drawn = ((weight_above @ ahead) * weight_below).sum(1)[pairs > 0] / pairs[pairs > 0]
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return AUC(float(ahead.mean()), low, high)


def _parts(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """The scores of positive and of negative items, float64."""
    score, positive = torch.as_tensor(score).detach().cpu().double(), torch.as_tensor(positive).cpu()
    if score.ndim != 1 or score.shape != positive.shape or positive.dtype != torch.bool:
        raise ValueError(
            f"expected scores (n,) and booleans (n,), not {tuple(score.shape)} and {positive.dtype} "
            f"{tuple(positive.shape)}"
        )
    if not score.isfinite().all():
        raise ValueError(f"{int((~score.isfinite()).sum())} of {len(score)} scores are not finite")
    above, below = score[positive], score[~positive]
    if not len(above) or not len(below):
        raise ValueError(f"{len(above)} positive and {len(below)} negative items: there must be some of both")
    return above, below


def _ahead(above: Tensor, below: Tensor) -> Tensor:
    """(positive, negative): 1 where the positive item scores higher, 1/2 for a tie."""
    return (above[:, None] > below).double() + 0.5 * (above[:, None] == below).double()
