"""Nearest training samples, and whether generated samples are copies of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from medgan_lib.metrics.samples import distances_by_row, flattened, matrices, permutation


class Memorisation(NamedTuple):
    """Distances to the nearest training sample, of fakes (n,) and held-out real samples (m,), and the alarms.

    ``copies`` (n,) marks suspicious fakes, ``share`` is their share, ``false_alarms`` that of fresh real samples.
    """

    fake: Tensor
    held_out: Tensor
    copies: Tensor
    share: float
    false_alarms: float


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
    a, b = matrices(flattened(a), flattened(b), least=1)
    if not 1 <= k <= len(b):
        raise ValueError(f"cannot find {k} neighbours among {len(b)} samples")
    found = [distance.topk(k, largest=False) for _, distance in distances_by_row(a, b)]
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
    setting, measuring = held_ratio[permutation(len(held_ratio), 0).to(held_ratio.device)].chunk(2)
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
